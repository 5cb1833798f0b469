#pragma once
// Resampling by area: an output pixel is the mean of what it covers, fractions of pixels counted as such. Exact for any scale, and no
// smaller than the truth: what it shrinks cannot alias.

#include <cstdint>

namespace sslmed::transforms {

struct Grid {
  double start = 0, step = 1;  // in source pixels: output pixel i covers [start + i·step, start + (i + 1)·step)
  std::int64_t count = 0;
};

// source [height, width, channels] → into [y.count, x.count, channels], rounded to the nearest. ValueError where a grid leaves the source.
void area_resize(const std::uint8_t* source, std::int64_t width, std::int64_t height, std::int64_t channels, const Grid& x, const Grid& y, std::uint8_t* into);

}  // namespace sslmed::transforms
