#pragma once
// What augmentations do to one value or one pixel: the same formulas in the CPU's loops and in CUDA kernels.

#include <cmath>
#include <cstdint>

#include "core/device.h"

namespace sslmed::transforms {

SSLMED_FORMULA int least(int a, int b) { return a < b ? a : b; }
SSLMED_FORMULA int most(int a, int b) { return a > b ? a : b; }

// Of values within ±2^30. Bounds are put to integers: GCC has vector instructions for them, and for those of floats only where they may forget about NaN.
SSLMED_FORMULA std::uint8_t rounded_byte(float value) { return static_cast<std::uint8_t>(least(most(static_cast<int>(value + 0.5F), 0), 255)); }

SSLMED_FORMULA float grey_of(float r, float g, float b) { return static_cast<float>(static_cast<int>(0.2989F * r + 0.587F * g + 0.114F * b)); }

// What a channel lacks of the most, as a share of the range: all of it within a sixth of a turn from the hue `against`, which is opposite to its own,
// nothing beyond two, and in between what lies between. By magnitudes, since comparisons of floats would not become vector instructions.
SSLMED_FORMULA float lacking(float hue, float against) {
  const float near = std::fabs(std::fabs(hue - against) - 3) - 1;  // two sixths less the distance on the circle
  return 0.5F * (std::fabs(near) - std::fabs(near - 1) + 1);       // within [0, 1]
}

// A colour as its hue, in sixths of a turn and turned by `by`, within [0, 6), the largest value, and the range to the smallest.
SSLMED_FORMULA float turned_hue(int r, int g, int b, float by, float& top, float& range) {
  const int highest = most(most(r, g), b), width = highest - least(least(r, g), b), safe = most(width, 1);
  // In sixths of a turn, from -1 to 5 before it is turned.
  const int from_g = 2 * safe + b - r, from_b = 4 * safe + r - g, other = highest == g ? from_g : from_b, angle = highest == r ? g - b : other;
  float hue = static_cast<float>(angle) / static_cast<float>(safe) + by;
  hue -= 6 * static_cast<float>(static_cast<int>(hue * (1.0F / 6) + 1) - 1);
  top = static_cast<float>(highest);
  range = static_cast<float>(width);
  return hue;
}

// Sums of a blur are of 16 bits: pixels in 64ths, so that two of them still fit and the taps on both sides, which weigh alike, are added before they are
// weighed; weights in 32768ths. Written so that GCC finds the one instruction that does it.
constexpr int kBlurFraction = 6;
constexpr int kBlurOne = 1 << 15;
SSLMED_FORMULA std::int16_t weighed(std::int16_t value, std::int16_t weight) {
  return static_cast<std::int16_t>((((static_cast<int>(value) * static_cast<int>(weight)) >> 14) + 1) >> 1);
}
SSLMED_FORMULA std::uint8_t byte_of_sum(std::int16_t sum) { return static_cast<std::uint8_t>((sum + (1 << (kBlurFraction - 1))) >> kBlurFraction); }

// Edges are mirrored without the edge pixel.
SSLMED_FORMULA std::int64_t mirrored(std::int64_t i, std::int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

// Bicubic weights are whole numbers of 2^-22: eight bits of pixel, two for what overshoots, the rest.
constexpr int kBicubicBits = 22;

SSLMED_FORMULA double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Which source pixels an output pixel is made of, when [start, start + length) of `size` become `out`.
struct Reach {
  double centre, wide;
  std::int64_t first, last;
};
SSLMED_FORMULA Reach reach_of(std::int64_t size, double start, double length, std::int64_t out, std::int64_t i) {
  const double scale = length / static_cast<double>(out), wide = scale > 1 ? scale : 1, support = 2 * wide;
  const double centre = start + (static_cast<double>(i) + 0.5) * scale;
  const auto first = static_cast<std::int64_t>(centre - support + 0.5), last = static_cast<std::int64_t>(centre + support + 0.5);
  return {centre, wide, first > 0 ? first : 0, last < size ? last : size};
}
SSLMED_FORMULA double exact_weight(const Reach& reach, std::int64_t s) { return cubic((static_cast<double>(s) - reach.centre + 0.5) / reach.wide); }
SSLMED_FORMULA std::int32_t whole_weight(double exact, double sum) {
  const double weight = exact / sum * (1 << kBicubicBits);
  return static_cast<std::int32_t>(weight + (weight < 0 ? -0.5 : 0.5));
}
SSLMED_FORMULA std::uint8_t weighted_byte(std::int32_t sum) { return static_cast<std::uint8_t>(least(most(sum >> kBicubicBits, 0), 255)); }

}  // namespace sslmed::transforms
