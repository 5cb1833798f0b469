#pragma once
// Windows bitmaps without compression: 8 bits with a palette, 24 and 32 bits.

#include <cstdint>
#include <string>
#include <vector>

#include "io/png.h"

namespace sslmed::io {

// FormatError where the bytes are no whole bitmap of these kinds. A palette of grays gives one channel; the fourth byte of 32 bits is left out, as nearly
// all programs do.
Image decode_bmp(const std::string& name, const std::vector<std::uint8_t>& bmp);

}  // namespace sslmed::io
