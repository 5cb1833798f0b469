#pragma once
// Images in TIFF files: the first page, in strips or tiles, as patches of slides and scans of film are stored. Slides themselves are read by io/slide.h.

#include <cstdint>
#include <string>
#include <vector>

#include "io/png.h"

namespace sslmed::io {

// 8 or 16 bits a value, 1 to 4 values a pixel; without compression, or LZW, Deflate, PackBits or JPEG. FormatError, with what was found, for all others.
// `deep` as for decode_png; `orientation` takes TIFF's tag. Further pages are told in `salvaged`.
Image decode_tiff(const std::string& name, const std::vector<std::uint8_t>& tiff, bool deep, std::vector<std::string>& salvaged, int& orientation);

}  // namespace sslmed::io
