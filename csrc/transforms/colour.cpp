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

SSLMED_INLINE float grey_of(float r, float g, float b) { return static_cast<float>(static_cast<int>(0.2989F * r + 0.587F * g + 0.114F * b)); }

SSLMED_CLONES void blend_with(std::uint8_t* values, std::int64_t n, float factor, float other) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = rounded_byte(factor * static_cast<float>(values[i]) + other);
}

// Pixels colour by colour, so that vector registers hold one of each.
constexpr std::int64_t kBlock = 256;
struct Planes {
  alignas(64) float r[kBlock], g[kBlock], b[kBlock];
};

SSLMED_INLINE void part(const std::uint8_t* rgb, std::int64_t n, Planes& planes) {
  for (std::int64_t i = 0; i < n; ++i) {
    planes.r[i] = static_cast<float>(rgb[3 * i]);
    planes.g[i] = static_cast<float>(rgb[3 * i + 1]);
    planes.b[i] = static_cast<float>(rgb[3 * i + 2]);
  }
}

SSLMED_INLINE void join(const Planes& planes, std::int64_t n, std::uint8_t* rgb) {
  alignas(64) std::uint8_t r[kBlock], g[kBlock], b[kBlock];
  for (std::int64_t i = 0; i < n; ++i) r[i] = rounded_byte(planes.r[i]);
  for (std::int64_t i = 0; i < n; ++i) g[i] = rounded_byte(planes.g[i]);
  for (std::int64_t i = 0; i < n; ++i) b[i] = rounded_byte(planes.b[i]);
  for (std::int64_t i = 0; i < n; ++i) {
    rgb[3 * i] = r[i];
    rgb[3 * i + 1] = g[i];
    rgb[3 * i + 2] = b[i];
  }
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

// Eight values by name: GCC turns no comparison of floats into a selection by itself.
typedef float Eight __attribute__((vector_size(32), aligned(32)));

SSLMED_INLINE void load(const float* from, Eight& value) { std::memcpy(&value, from, sizeof value); }

// A channel is a trapezium over the hue: up for a sixth, at the top for two, down for one.
SSLMED_INLINE void trapezium(const Eight& hue, float start, const Eight& most, const Eight& range, float* into) {
  Eight h = hue - start;
  h = h < 0 ? h + 6 : h;
  const Eight down = 4 - h;
  Eight share = h < down ? h : down;
  share = share < 0 ? Eight{} : share;
  share = share > 1 ? Eight{} + 1 : share;
  const Eight value = most - range * share;
  std::memcpy(into, &value, sizeof value);
}

SSLMED_CLONES void turn_hue(std::uint8_t* rgb, std::int64_t pixels, float by) {
  Planes planes{};
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto n = std::min(kBlock, pixels - first);
    part(rgb + 3 * first, n, planes);
    for (std::int64_t i = 0; i < n; i += 8) {
      Eight r, g, b;
      load(planes.r + i, r);
      load(planes.g + i, g);
      load(planes.b + i, b);
      const Eight rg_most = r > g ? r : g, rg_least = r > g ? g : r;
      const Eight most = rg_most > b ? rg_most : b, least = rg_least < b ? rg_least : b, range = most - least;
      const Eight safe = range > 0 ? range : Eight{} + 1;
      // In sixths of a turn.
      const Eight from_r = g - b, from_g = 2 * safe + b - r, from_b = 4 * safe + r - g;
      const Eight other = most == g ? from_g : from_b;
      Eight hue = (most == r ? from_r : other) / safe + by;
      hue = hue < 0 ? hue + 6 : hue;
      hue = hue >= 6 ? hue - 6 : hue;
      trapezium(hue, 1, most, range, planes.r + i);
      trapezium(hue, 3, most, range, planes.g + i);
      trapezium(hue, 5, most, range, planes.b + i);
    }
    join(planes, n, rgb + 3 * first);
  }
}

// sums[i] = Σ weights[t] · from[t · step + i], in registers.
SSLMED_CLONES void weigh(const float* from, std::int64_t step, const float* weights, std::int64_t taps, std::int64_t n, float* sums) {
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    Eight a{}, b{}, c{}, d{}, value;
    for (std::int64_t t = 0; t < taps; ++t) {
      const float* at = from + t * step + i;
      load(at, value);
      a += weights[t] * value;
      load(at + 8, value);
      b += weights[t] * value;
      load(at + 16, value);
      c += weights[t] * value;
      load(at + 24, value);
      d += weights[t] * value;
    }
    std::memcpy(sums + i, &a, sizeof a);
    std::memcpy(sums + i + 8, &b, sizeof b);
    std::memcpy(sums + i + 16, &c, sizeof c);
    std::memcpy(sums + i + 24, &d, sizeof d);
  }
  for (; i < n; ++i) {
    float sum = 0;
    for (std::int64_t t = 0; t < taps; ++t) sum += weights[t] * from[t * step + i];
    sums[i] = sum;
  }
}

SSLMED_CLONES void to_bytes(const float* from, std::int64_t n, std::uint8_t* into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] = rounded_byte(from[i]);
}

SSLMED_CLONES void to_floats(const std::uint8_t* from, std::int64_t n, float* into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] = static_cast<float>(from[i]);
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
  const double mean = mean_grey(rgb, pixels);
  blend_with(rgb, 3 * pixels, static_cast<float>(factor), static_cast<float>((1 - factor) * mean));
}

void adjust_saturation(std::uint8_t* rgb, std::int64_t pixels, double factor) {
  check_factor(factor, "saturation");
  blend_with_grey(rgb, pixels, static_cast<float>(factor));
}

void adjust_hue(std::uint8_t* rgb, std::int64_t pixels, double turn) {
  if (!(turn >= -0.5 && turn <= 0.5)) throw ValueError("hue is turned by -0.5 to 0.5 of a full turn, got " + std::to_string(turn));
  turn_hue(rgb, pixels, static_cast<float>(6 * turn));
}

void to_grey(std::uint8_t* rgb, std::int64_t pixels) { blend_with_grey(rgb, pixels, 0); }

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
  // Taps that no byte can feel are left out: of a narrow Gaussian most.
  std::int64_t reach = half;
  while (reach > 0 && weights[static_cast<std::size_t>(half - reach)] < 1e-7F) --reach;
  const std::int64_t taps = 2 * reach + 1, stride = 3 * width;
  const float* used = weights.data() + half - reach;
  // Across first, each row with its margins; then down, over rows with theirs.
  thread_local std::vector<float> padded, across;
  padded.resize(static_cast<std::size_t>(stride + 6 * reach));
  across.resize(static_cast<std::size_t>(stride * (height + 2 * reach)));
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* row = rgb + y * stride;
    to_floats(row, stride, padded.data() + 3 * reach);
    for (std::int64_t x = 1; x <= reach; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        padded[static_cast<std::size_t>(3 * (reach - x) + c)] = row[3 * mirrored(-x, width) + c];
        padded[static_cast<std::size_t>(3 * (reach + width - 1 + x) + c)] = row[3 * mirrored(width - 1 + x, width) + c];
      }
    }
    weigh(padded.data(), 3, used, taps, stride, across.data() + (y + reach) * stride);
  }
  for (std::int64_t y = 1; y <= reach; ++y) {
    std::copy_n(across.data() + (reach + mirrored(-y, height)) * stride, stride, across.data() + (reach - y) * stride);
    std::copy_n(across.data() + (reach + mirrored(height - 1 + y, height)) * stride, stride, across.data() + (reach + height - 1 + y) * stride);
  }
  for (std::int64_t y = 0; y < height; ++y) {
    weigh(across.data() + y * stride, stride, used, taps, stride, padded.data());
    to_bytes(padded.data(), stride, rgb + y * stride);
  }
}

void flip_horizontally(std::uint8_t* rgb, std::int64_t width, std::int64_t height) {
  if (width < 2) return;
  thread_local std::vector<std::uint8_t> before;
  before.resize(static_cast<std::size_t>(3 * width + 1));
  for (std::int64_t y = 0; y < height; ++y) {
    std::uint8_t* row = rgb + 3 * y * width;
    std::copy_n(row, 3 * width, before.data());
    // Four bytes at a time, the last of which the next pixel writes over.
    for (std::int64_t x = 0; x + 1 < width; ++x) std::memcpy(row + 3 * x, before.data() + 3 * (width - 1 - x), 4);
    std::memcpy(row + 3 * (width - 1), before.data(), 3);
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
