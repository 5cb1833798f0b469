#include "transforms/colour.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/pixel.h"
#include "transforms/planes.h"

namespace sslmed::transforms {
namespace {

SSLMED_CLONES void blend_with(std::uint8_t* values, std::int64_t n, float factor, float other) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = rounded_byte(factor * static_cast<float>(values[i]) + other);
}

SSLMED_CLONES double mean_grey(const std::uint8_t* rgb, std::int64_t pixels) {
  Planes planes;
  std::int64_t sum = 0;
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto n = std::min(kBlock, pixels - first);
    part(rgb + 3 * first, n, planes);
    int block = 0;
    for (std::int64_t i = 0; i < n; ++i) block += static_cast<int>(0.2989F * planes.r[i] + 0.587F * planes.g[i] + 0.114F * planes.b[i]);
    sum += block;
  }
  return static_cast<double>(sum) / static_cast<double>(pixels);
}

SSLMED_CLONES void blend_with_grey(std::uint8_t* rgb, std::int64_t pixels, float factor) {
  Planes planes;
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto n = std::min(kBlock, pixels - first);
    part(rgb + 3 * first, n, planes);
    for (std::int64_t i = 0; i < n; ++i) {
      const float other = (1 - factor) * grey_of(planes.r[i], planes.g[i], planes.b[i]);
      planes.r[i] = factor * planes.r[i] + other;
      planes.g[i] = factor * planes.g[i] + other;
      planes.b[i] = factor * planes.b[i] + other;
    }
    join(planes, n, rgb + 3 * first);
  }
}

SSLMED_CLONES void turn_hue(std::uint8_t* rgb, std::int64_t pixels, float by) {
  PlanesOf<std::uint8_t> bytes;
  Planes planes;
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto n = std::min(kBlock, pixels - first);
    part(rgb + 3 * first, n, bytes);
    for (std::int64_t i = 0; i < n; ++i) {
      float top, width;
      const float hue = turned_hue(bytes.r[i], bytes.g[i], bytes.b[i], by, top, width);
      planes.r[i] = top - width * lacking(hue, 3);
      planes.g[i] = top - width * lacking(hue, 5);
      planes.b[i] = top - width * lacking(hue, 1);
    }
    join(planes, n, rgb + 3 * first);
  }
}

// Sums of 16 bits fill registers twice as well as floats do and are three times as fast. With up to 39 taps a pixel of noise differs from exact sums by a
// fifteenth at most, so that one byte in a hundred rounds the other way.
constexpr std::int64_t kLane = 64;

// sums[i] = weights[0] · at[i] + Σ weights[t] · (at[i - t · step] + at[i + t · step]); reads and writes up to kLane - 1 places more than n.
SSLMED_CLONES void weigh(const std::int16_t* at, std::int64_t step, const std::int16_t* weights, std::int64_t reach, std::int64_t n, std::int16_t* sums) {
  for (std::int64_t first = 0; first < n; first += kLane) {
    std::int16_t sum[kLane];
    for (std::int64_t i = 0; i < kLane; ++i) sum[i] = weighed(at[first + i], weights[0]);
    for (std::int64_t t = 1; t <= reach; ++t) {
      const std::int16_t *before = at + first - t * step, *after = at + first + t * step;
      const std::int16_t weight = weights[t];
      for (std::int64_t i = 0; i < kLane; ++i) sum[i] = static_cast<std::int16_t>(sum[i] + weighed(static_cast<std::int16_t>(before[i] + after[i]), weight));
    }
    std::memcpy(sums + first, sum, sizeof sum);
  }
}

SSLMED_CLONES void to_bytes(const std::int16_t* from, std::int64_t n, std::uint8_t* into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] = byte_of_sum(from[i]);
}

SSLMED_CLONES void from_bytes(const std::uint8_t* from, std::int64_t n, std::int16_t* into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] = static_cast<std::int16_t>(from[i] << kBlurFraction);
}

SSLMED_CLONES void invert_from(std::uint8_t* values, std::int64_t n, std::uint8_t threshold) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = values[i] >= threshold ? static_cast<std::uint8_t>(~values[i]) : values[i];
}

// Pixels from the last to the first, five at a time in one shuffle of sixteen bytes.
SSLMED_CLONES void reverse(const std::uint8_t* from, std::int64_t pixels, std::uint8_t* into) {
  typedef std::uint8_t Bytes __attribute__((vector_size(16), aligned(16)));
  const Bytes order{13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0};
  std::int64_t x = 0;
  // The byte before the five and the one after them are within both pictures: the first is left out, the other is written over by the next five.
  for (; x + 6 <= pixels; x += 5) {
    Bytes five;
    std::memcpy(&five, from + 3 * (pixels - x) - 16, sizeof five);
    five = __builtin_shuffle(five, order);
    std::memcpy(into + 3 * x, &five, sizeof five);
  }
  for (; x < pixels; ++x) std::memcpy(into + 3 * x, from + 3 * (pixels - 1 - x), 3);
}

// The factor, where larger ones make no other bytes.
float checked(double factor, const char* what) {
  if (!(factor >= 0 && std::isfinite(factor)))
    throw ValueError(std::string(what) + " is changed by a factor that is not negative, got " + std::to_string(factor));
  return static_cast<float>(std::min(factor, 1e6));
}

}  // namespace

void adjust_brightness(std::uint8_t* rgb, std::int64_t pixels, double factor) { blend_with(rgb, 3 * pixels, checked(factor, "brightness"), 0); }

void adjust_contrast(std::uint8_t* rgb, std::int64_t pixels, double factor) {
  const float by = checked(factor, "contrast");
  blend_with(rgb, 3 * pixels, by, static_cast<float>((1 - static_cast<double>(by)) * mean_grey(rgb, pixels)));
}

void adjust_saturation(std::uint8_t* rgb, std::int64_t pixels, double factor) { blend_with_grey(rgb, pixels, checked(factor, "saturation")); }

void adjust_hue(std::uint8_t* rgb, std::int64_t pixels, double turn) {
  if (!(turn >= -0.5 && turn <= 0.5)) throw ValueError("hue is turned by -0.5 to 0.5 of a full turn, got " + std::to_string(turn));
  turn_hue(rgb, pixels, static_cast<float>(6 * turn));
}

void to_grey(std::uint8_t* rgb, std::int64_t pixels) { blend_with_grey(rgb, pixels, 0); }

void solarise(std::uint8_t* rgb, std::int64_t pixels, int threshold) {
  if (threshold <= 255) invert_from(rgb, 3 * pixels, static_cast<std::uint8_t>(std::max(threshold, 0)));
}

std::vector<std::int16_t> blur_weights(int side, double sigma) {
  require(side >= 1 && side % 2 == 1, "side", side, "taps of a blur must be an odd number");
  require(sigma > 0 && std::isfinite(sigma), "sigma", sigma, "must be positive");
  // From the middle outwards, sums rounded and not each: then the middle, which gets what is left, is as right as the others.
  const std::int64_t half = side / 2;
  const auto exact = [&](std::int64_t t) { return std::exp(-0.5 * std::pow(static_cast<double>(t) / sigma, 2)); };
  double total = 0, sum = 0;
  for (std::int64_t t = -half; t <= half; ++t) total += exact(t);
  std::vector<std::int16_t> weights(static_cast<std::size_t>(half) + 1);
  std::int64_t given = 0, reach = 0;
  for (std::int64_t t = 1; t <= half; ++t) {
    sum += exact(t);
    const std::int64_t weight = std::llround(kBlurOne * sum / total) - given;
    weights[static_cast<std::size_t>(t)] = static_cast<std::int16_t>(weight);
    given += weight;
    if (weight > 0) reach = t;
  }
  if (reach == 0) return {0};
  weights[0] = static_cast<std::int16_t>(kBlurOne - 2 * given);
  weights.resize(static_cast<std::size_t>(reach) + 1);
  return weights;
}

void gaussian_blur(std::uint8_t* rgb, std::int64_t width, std::int64_t height, int side, double sigma) {
  const std::int64_t half = side / 2;
  if (width <= half || height <= half)
    throw ValueError("a blur of " + std::to_string(side) + " taps needs sides of more than " + std::to_string(half) + " pixels, got " + std::to_string(width) +
                     " x " + std::to_string(height));
  const auto weights = blur_weights(side, sigma);
  const auto reach = static_cast<std::int64_t>(weights.size()) - 1;
  if (reach == 0) return;
  const std::int64_t stride = 3 * width, margin = 3 * reach;
  // Across first, each row with its margins; then down, over rows with theirs.
  thread_local std::vector<std::int16_t> padded, across;
  padded.resize(static_cast<std::size_t>(stride + 2 * margin + kLane));
  across.resize(static_cast<std::size_t>(stride * (height + 2 * reach) + kLane));
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* row = rgb + y * stride;
    from_bytes(row, stride, padded.data() + margin);
    for (std::int64_t x = 1; x <= reach; ++x) {
      std::copy_n(padded.data() + margin + 3 * mirrored(-x, width), 3, padded.data() + margin - 3 * x);
      std::copy_n(padded.data() + margin + 3 * mirrored(width - 1 + x, width), 3, padded.data() + margin + 3 * (width - 1 + x));
    }
    weigh(padded.data() + margin, 3, weights.data(), reach, stride, across.data() + (y + reach) * stride);
  }
  for (std::int64_t y = 1; y <= reach; ++y) {
    std::copy_n(across.data() + (reach + mirrored(-y, height)) * stride, stride, across.data() + (reach - y) * stride);
    std::copy_n(across.data() + (reach + mirrored(height - 1 + y, height)) * stride, stride, across.data() + (reach + height - 1 + y) * stride);
  }
  for (std::int64_t y = 0; y < height; ++y) {
    weigh(across.data() + (y + reach) * stride, stride, weights.data(), reach, stride, padded.data());
    to_bytes(padded.data(), stride, rgb + y * stride);
  }
}

void flip_horizontally(std::uint8_t* rgb, std::int64_t width, std::int64_t height) {
  if (width < 2) return;
  thread_local std::vector<std::uint8_t> before;
  before.resize(static_cast<std::size_t>(3 * width));
  for (std::int64_t y = 0; y < height; ++y) {
    std::uint8_t* row = rgb + 3 * y * width;
    std::copy_n(row, 3 * width, before.data());
    reverse(before.data(), width, row);
  }
}

void flip_vertically(std::uint8_t* rgb, std::int64_t width, std::int64_t height) {
  for (std::int64_t a = 0, b = height - 1; a < b; ++a, --b) std::swap_ranges(rgb + 3 * a * width, rgb + 3 * (a + 1) * width, rgb + 3 * b * width);
}

void rotate_quarters(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, int turns, std::uint8_t* into) {
  turns = (turns % 4 + 4) % 4;
  if (turns == 0) std::copy_n(rgb, 3 * width * height, into);
  if (turns == 2) reverse(rgb, width * height, into);
  if (turns % 2 == 0) return;
  // Rows of the result are columns: of a quarter from the right one on and downwards, of three quarters from the left one on and upwards.
  for (std::int64_t y = 0; y < width; ++y) {
    const std::int64_t column = turns == 1 ? width - 1 - y : y;
    const std::uint8_t* from = rgb + 3 * (turns == 1 ? column : (height - 1) * width + column);
    const std::int64_t step = turns == 1 ? 3 * width : -3 * width;
    for (std::int64_t x = 0; x < height; ++x) std::memcpy(into + 3 * (y * height + x), from + x * step, 3);
  }
}

}  // namespace sslmed::transforms
