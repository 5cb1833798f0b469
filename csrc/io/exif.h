#pragma once
// How a picture has to be turned to be upright, as cameras and scanners note it beside the pixels (EXIF, tag 274).

#include <cstdint>
#include <vector>

#include "io/png.h"

namespace sslmed::io {

// 1 to 8, as in a file of JPEG or PNG; 1 where nothing is noted, or what is noted cannot be understood.
int exif_orientation(const std::vector<std::uint8_t>& file);

// Pixels as they are to be shown.
Image upright(Image image, int orientation);

}  // namespace sslmed::io
