// Steps that change each voxel by itself.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/volume_intensity.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {
namespace {

SSLMED_CLONES void bias_line(const BiasRow& row, const float* z, std::int64_t n, float* values) {
  for (std::int64_t i = 0; i < n; ++i) values[i] *= bias_at(row, z[i]);
}

SSLMED_CLONES void gamma_all(float* values, std::int64_t n, Gamma gamma) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = gamma_changed(values[i], gamma);
}

SSLMED_CLONES void normal_run(const std::uint32_t* words, float* into) {
  constexpr std::int64_t kHalf = kNoiseRun / 2;
  for (std::int64_t i = 0; i < kHalf; ++i) {
    const auto pair = normals_of(words[i], words[kHalf + i]);
    into[i] = pair.first;
    into[kHalf + i] = pair.second;
  }
}

// By division, so that the ends become 0 and 1 exactly.
SSLMED_CLONES void scale_all(float* values, std::int64_t n, float low, float range) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = (values[i] - low) / range;
}

SSLMED_CLONES void invert_all(float* values, std::int64_t n, float sum) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = sum - values[i];
}

// Many minima and maxima side by side: one of each would be compared in turn.
SSLMED_CLONES Extremes extremes_of(const float* values, std::int64_t n) {
  constexpr std::int64_t kBeside = 64;
  float low[kBeside], high[kBeside];
  std::fill_n(low, kBeside, values[0]);
  std::fill_n(high, kBeside, values[0]);
  std::int64_t i = 0;
  for (; i + kBeside <= n; i += kBeside) {
    for (std::int64_t k = 0; k < kBeside; ++k) low[k] = values[i + k] < low[k] ? values[i + k] : low[k];
    for (std::int64_t k = 0; k < kBeside; ++k) high[k] = values[i + k] > high[k] ? values[i + k] : high[k];
  }
  Extremes out{*std::min_element(low, low + kBeside), *std::max_element(high, high + kBeside)};
  for (; i < n; ++i) out = {std::min(out.low, values[i]), std::max(out.high, values[i])};
  return out;
}

SSLMED_CLONES void add_scaled(const float* from, std::int64_t n, float by, float* into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] += by * from[i];
}

}  // namespace

Extremes extremes(const float* values, std::int64_t n) { return n == 0 ? Extremes{0, 0} : extremes_of(values, n); }

std::array<double, 20> third_order(const std::vector<double>& given) {
  int order = -1;
  for (int o = 0; o <= 3; ++o)
    if (given.size() == static_cast<std::size_t>((o + 1) * (o + 2) * (o + 3) / 6)) order = o;
  if (order < 0) throw ValueError("bias field: len(coefficients)=" + std::to_string(given.size()) + " must be 1, 4, 10 or 20, for orders 0 to 3");
  std::array<double, 20> out{};
  std::size_t from = 0, to = 0;
  for (int i = 0; i <= 3; ++i)
    for (int j = 0; j <= 3 - i; ++j)
      for (int k = 0; k <= 3 - i - j; ++k, ++to)
        if (i + j + k <= order) out[to] = given[from++];
  return out;
}

void volume_bias(const FloatVolume& volume, const std::vector<double>& coefficients) {
  const auto all = third_order(coefficients);
  const auto [nx, ny, nz] = volume.shape;
  std::vector<float> z(static_cast<std::size_t>(nz));
  for (std::int64_t i = 0; i < nz; ++i) z[static_cast<std::size_t>(i)] = static_cast<float>(bias_place(i, nz));
  float* at = volume.values;
  for (std::int64_t x = 0; x < nx; ++x)
    for (std::int64_t y = 0; y < ny; ++y, at += nz) bias_line(bias_row(all.data(), bias_place(x, nx), bias_place(y, ny)), z.data(), nz, at);
}

void volume_gamma(float* values, std::int64_t n, double gamma) {
  require(gamma > 0 && gamma <= 100, "gamma", gamma, "must be above 0 and at most 100");
  gamma_all(values, n, gamma_of(static_cast<float>(gamma)));
}

void normal_numbers(NoiseKey key, std::int64_t first, std::int64_t n, float* into) {
  static_assert(kNoiseRun == 4 * static_cast<std::int64_t>(Philox::kBlocks));
  alignas(64) std::uint32_t words[kNoiseRun];
  for (std::int64_t i = 0; i < n; i += kNoiseRun) {
    philox_words(static_cast<std::uint64_t>(first + i) / 4, 0, key, words);
    if (n - i >= kNoiseRun) {
      normal_run(words, into + i);
    } else {
      float last[kNoiseRun];
      normal_run(words, last);
      std::copy_n(last, n - i, into + i);
    }
  }
}

void volume_noise(float* values, std::int64_t n, double std, NoiseKey key) {
  require(std >= 0 && std::isfinite(std), "std", std, "must be a number of at least 0");
  constexpr std::int64_t kPart = 32 * kNoiseRun;
  alignas(64) float noise[kPart];
  for (std::int64_t i = 0; i < n; i += kPart) {
    const auto part = std::min(kPart, n - i);
    normal_numbers(key, i, part, noise);
    add_scaled(noise, part, static_cast<float>(std), values + i);
  }
}

void volume_inversion(float* values, std::int64_t n) {
  const auto [low, high] = extremes(values, n);
  invert_all(values, n, low + high);
}

void volume_to_unit(float* values, std::int64_t n) {
  const auto [low, high] = extremes(values, n);
  const float range = high - low;
  if (range != 0) {
    scale_all(values, n, low, range);
  } else {
    std::fill_n(values, n, 0.0F);
  }
}

}  // namespace sslmed::transforms
