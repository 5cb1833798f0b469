#pragma once
// Resampling by area: an output pixel is the mean of what it covers, fractions of pixels counted as such. Exact for any scale, and no
// smaller than the truth: what it shrinks cannot alias.

#include <cstdint>
#include <functional>

namespace sslmed::transforms {

struct Grid {
  double start = 0, step = 1;  // in source pixels: output pixel i covers [start + i·step, start + (i + 1)·step)
  std::int64_t count = 0;
};

// Gives the source's row i, [width, channels]. Asked for in order; the last one may be asked for again.
using SourceRow = std::function<const std::uint8_t*(std::int64_t i)>;

// Source of [height, width, channels] → into [y.count, x.count, channels], rounded to the nearest. ValueError where a grid leaves the source.
void area_resize(const SourceRow& source, std::int64_t width, std::int64_t height, std::int64_t channels, const Grid& x, const Grid& y, std::uint8_t* into);
void area_resize(const std::uint8_t* source, std::int64_t width, std::int64_t height, std::int64_t channels, const Grid& x, const Grid& y, std::uint8_t* into);

}  // namespace sslmed::transforms
