#pragma once
// sRGB in bytes to CIELAB (D65) and back, many pixels at a time.

#include <cstdint>

#include "transforms/planes.h"

namespace sslmed::transforms {

// L*, a* and b* in place of r, g and b; n up to kBlock pixels. Within 1e-11 of the definition.
void to_lab(const std::uint8_t* rgb, std::int64_t n, PlanesOf<double>& lab);

// Rounded; what sRGB has no colour for is cut off channel by channel.
void from_lab(const PlanesOf<double>& lab, std::int64_t n, std::uint8_t* rgb);

}  // namespace sslmed::transforms
