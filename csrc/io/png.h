#pragma once
// PNG through libpng; every chunk's checksum is checked, up to the end of the file.

#include <cstdint>
#include <string>
#include <vector>

namespace sslmed::io {

struct Image {
  std::int64_t width = 0, height = 0, channels = 0;  // 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA
  int depth = 8;                                     // bits a value
  std::vector<std::uint8_t> bytes;                   // [height, width, channels]; 16-bit values in the machine's byte order
};

// Palettes become RGB (RGBA where entries are transparent), fewer than 8 bits become 8. `deep`: 16 bits stay, otherwise they become
// 8 (to_bytes). FormatError where the bytes are no whole PNG; `salvaged` takes what does not touch the pixels.
Image decode_png(const std::string& name, const std::vector<std::uint8_t>& png, bool deep, std::vector<std::string>& salvaged);

// 16-bit values as 8: 0 to 65535 become 0 to 255. Where the largest color is below 2^15, so do those of 8, 10, 12, 14 or 15 bits,
// which `salvaged` tells; not where the values are known to be of all 16 bits (`full`).
void to_bytes(Image& image, std::vector<std::string>& salvaged, bool full = false);

}  // namespace sslmed::io
