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

namespace sslmed::transforms {
namespace {

SSLMED_INLINE std::uint8_t rounded_byte(float value) { return static_cast<std::uint8_t>(std::min(std::max(value + 0.5F, 0.0F), 255.0F)); }

SSLMED_INLINE int grey_of(const std::uint8_t* p) {
  return static_cast<int>(0.2989F * static_cast<float>(p[0]) + 0.587F * static_cast<float>(p[1]) + 0.114F * static_cast<float>(p[2]));
}

SSLMED_CLONES void blend_with(std::uint8_t* values, std::int64_t n, float factor, float other) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = rounded_byte(factor * static_cast<float>(values[i]) + other);
}

SSLMED_CLONES void add_taps(const float* from, float weight, std::int64_t n, float* sums) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] += weight * from[i];
}

void check_factor(double factor, const char* what) {
  if (!(factor >= 0 && std::isfinite(factor)))
    throw ValueError(std::string(what) + " is changed by a factor that is not negative, got " + std::to_string(factor));
}

std::int64_t mirrored(std::int64_t i, std::int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

}  // namespace

void adjust_brightness(std::uint8_t* rgb, std::int64_t pixels, double factor) {
  check_factor(factor, "brightness");
  blend_with(rgb, 3 * pixels, static_cast<float>(factor), 0);
}

void adjust_contrast(std::uint8_t* rgb, std::int64_t pixels, double factor) {
  check_factor(factor, "contrast");
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i) sum += grey_of(rgb + 3 * i);
  const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
  blend_with(rgb, 3 * pixels, static_cast<float>(factor), static_cast<float>((1 - factor) * mean));
}

void adjust_saturation(std::uint8_t* rgb, std::int64_t pixels, double factor) {
  check_factor(factor, "saturation");
  const auto f = static_cast<float>(factor);
  for (std::int64_t i = 0; i < pixels; ++i) {
    std::uint8_t* p = rgb + 3 * i;
    const float other = (1 - f) * static_cast<float>(grey_of(p));
    for (int c = 0; c < 3; ++c) p[c] = rounded_byte(f * static_cast<float>(p[c]) + other);
  }
}

void adjust_hue(std::uint8_t* rgb, std::int64_t pixels, double turn) {
  if (!(turn >= -0.5 && turn <= 0.5)) throw ValueError("hue is turned by -0.5 to 0.5 of a full turn, got " + std::to_string(turn));
  const auto by = static_cast<float>(6 * turn);
  for (std::int64_t i = 0; i < pixels; ++i) {
    std::uint8_t* p = rgb + 3 * i;
    const auto r = static_cast<float>(p[0]), g = static_cast<float>(p[1]), b = static_cast<float>(p[2]);
    const float most = std::max({r, g, b}), least = std::min({r, g, b}), range = most - least;
    if (range == 0) continue;
    float hue = 0;  // in sixths of a turn
    if (most == r) {
      hue = (g - b) / range;
    } else if (most == g) {
      hue = 2 + (b - r) / range;
    } else {
      hue = 4 + (r - g) / range;
    }
    hue += by;
    hue -= 6 * std::floor(hue / 6);
    // Each channel is a trapezium over the hue: up for a sixth, at the top for two, down for one.
    const auto at = [&](float start) {
      float h = hue - start;
      h -= 6 * std::floor(h / 6);
      return most - range * std::clamp(std::min(h, 4 - h), 0.0F, 1.0F);
    };
    p[0] = rounded_byte(at(1));
    p[1] = rounded_byte(at(3));
    p[2] = rounded_byte(at(5));
  }
}

void to_grey(std::uint8_t* rgb, std::int64_t pixels) {
  for (std::int64_t i = 0; i < pixels; ++i) std::memset(rgb + 3 * i, grey_of(rgb + 3 * i), 3);
}

void solarise(std::uint8_t* rgb, std::int64_t pixels, int threshold) {
  for (std::int64_t i = 0; i < 3 * pixels; ++i) rgb[i] = rgb[i] >= threshold ? static_cast<std::uint8_t>(255 - rgb[i]) : rgb[i];
}

void gaussian_blur(std::uint8_t* rgb, std::int64_t width, std::int64_t height, int side, double sigma) {
  if (side < 1 || side % 2 == 0 || !(sigma > 0 && std::isfinite(sigma)))
    throw ValueError("a blur has an odd number of taps and a positive sigma, got " + std::to_string(side) + " and " + std::to_string(sigma));
  const std::int64_t half = side / 2;
  if (width <= half || height <= half)
    throw ValueError("a blur of " + std::to_string(side) + " taps needs sides of more than " + std::to_string(half) + " pixels, got " + std::to_string(width) +
                     " x " + std::to_string(height));
  std::vector<float> weights(static_cast<std::size_t>(side));
  double sum = 0;
  for (std::int64_t t = 0; t < side; ++t) sum += std::exp(-0.5 * std::pow(static_cast<double>(t - half) / sigma, 2));
  for (std::int64_t t = 0; t < side; ++t)
    weights[static_cast<std::size_t>(t)] = static_cast<float>(std::exp(-0.5 * std::pow(static_cast<double>(t - half) / sigma, 2)) / sum);
  const std::int64_t stride = 3 * width;
  // Across first, each row with its margins; then down.
  std::vector<float> padded(static_cast<std::size_t>(3 * (width + 2 * half))), across(static_cast<std::size_t>(stride * height)),
      sums(static_cast<std::size_t>(stride));
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = -half; x < width + half; ++x)
      for (std::int64_t c = 0; c < 3; ++c) padded[static_cast<std::size_t>(3 * (x + half) + c)] = rgb[y * stride + 3 * mirrored(x, width) + c];
    float* row = across.data() + y * stride;
    for (std::int64_t t = 0; t < side; ++t) add_taps(padded.data() + 3 * t, weights[static_cast<std::size_t>(t)], stride, row);
  }
  for (std::int64_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (std::int64_t t = 0; t < side; ++t)
      add_taps(across.data() + mirrored(y + t - half, height) * stride, weights[static_cast<std::size_t>(t)], stride, sums.data());
    for (std::int64_t i = 0; i < stride; ++i) rgb[y * stride + i] = rounded_byte(sums[static_cast<std::size_t>(i)]);
  }
}

void flip_horizontally(std::uint8_t* rgb, std::int64_t width, std::int64_t height) {
  for (std::int64_t y = 0; y < height; ++y) {
    std::uint8_t* row = rgb + 3 * y * width;
    for (std::int64_t a = 0, b = width - 1; a < b; ++a, --b)
      for (std::int64_t c = 0; c < 3; ++c) std::swap(row[3 * a + c], row[3 * b + c]);
  }
}

void flip_vertically(std::uint8_t* rgb, std::int64_t width, std::int64_t height) {
  for (std::int64_t a = 0, b = height - 1; a < b; ++a, --b) std::swap_ranges(rgb + 3 * a * width, rgb + 3 * (a + 1) * width, rgb + 3 * b * width);
}

void rotate_quarters(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, int turns, std::uint8_t* into) {
  turns = (turns % 4 + 4) % 4;
  const std::int64_t out_width = turns % 2 == 1 ? height : width;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::array<std::int64_t, 4> to_x{x, y, width - 1 - x, height - 1 - y}, to_y{y, width - 1 - x, height - 1 - y, x};
      const auto turn = static_cast<std::size_t>(turns);
      std::memcpy(into + 3 * (to_y[turn] * out_width + to_x[turn]), rgb + 3 * (y * width + x), 3);
    }
  }
}

}  // namespace sslmed::transforms
