#include "transforms/stain.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "core/simd.h"
#include "transforms/byte_tables.h"
#include "transforms/density.h"
#include "transforms/lab.h"
#include "transforms/planes.h"

namespace sslmed::transforms {
namespace {

bool is_tissue(const std::uint8_t* p) {
  const auto& light = light_of_bytes();
  return is_tissue_light(light[p[0]], light[p[1]], light[p[2]]);
}

// At most 15 from zero, beyond which light is black or white: numbers of one sign are ordered as their bits are, and bounds of whole numbers are vector
// instructions.
SSLMED_INLINE float bounded(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  return std::bit_cast<float>(std::min(bits & 0x7FFFFFFF, std::bit_cast<std::int32_t>(static_cast<float>(kFarthestDensity))) |
                              (bits & std::numeric_limits<std::int32_t>::min()));
}

// exp within 15 of zero in float's precision: 2^n by its bits, the rest by a polynomial, so that the loop over pixels is one of vectors.
SSLMED_INLINE float fast_exp(float x) {
  const float scaled = bounded(x) * 1.44269504F;
  const float whole = std::nearbyint(scaled), rest = (scaled - whole) * 0.69314718F;
  const float power = 1 + rest * (1 + rest * (0.5F + rest * (0.166666667F + rest * (0.0416666667F + rest * (0.00833333333F + rest * 0.00138888889F)))));
  return power * std::bit_cast<float>((static_cast<std::int32_t>(whole) + 127) << 23);
}

// Bytes of 255·exp(-(matrix · density + offset)) - less.
SSLMED_CLONES void from_density(const Planes& od, std::int64_t n, const float* m, const float* offset, float less, std::uint8_t* rgb) {
  Planes light;
  for (std::int64_t i = 0; i < n; ++i) light.r[i] = 255.0F * fast_exp(-(m[0] * od.r[i] + m[1] * od.g[i] + m[2] * od.b[i] + offset[0])) - less;
  for (std::int64_t i = 0; i < n; ++i) light.g[i] = 255.0F * fast_exp(-(m[3] * od.r[i] + m[4] * od.g[i] + m[5] * od.b[i] + offset[1])) - less;
  for (std::int64_t i = 0; i < n; ++i) light.b[i] = 255.0F * fast_exp(-(m[6] * od.r[i] + m[7] * od.g[i] + m[8] * od.b[i] + offset[2])) - less;
  join(light, n, rgb);
}

// Sums of values and of their squares about `about`. Eight of each side by side: one sum would be added to in turn.
SSLMED_CLONES std::pair<double, double> moments_of(const double* values, std::int64_t n, double about) {
  constexpr std::int64_t kBeside = 8;
  double sums[kBeside] = {}, squares[kBeside] = {};
  std::int64_t i = 0;
  for (; i + kBeside <= n; i += kBeside) {
    for (std::int64_t k = 0; k < kBeside; ++k) {
      const double value = values[i + k] - about;
      sums[k] += value;
      squares[k] += value * value;
    }
  }
  for (; i < n; ++i) {
    const double value = values[i] - about;
    sums[0] += value;
    squares[0] += value * value;
  }
  double sum = 0, square = 0;
  for (std::int64_t k = 0; k < kBeside; ++k) sum += sums[k], square += squares[k];
  return {sum, square};
}

SSLMED_CLONES void scale_about(double* values, std::int64_t n, double about, double gain, double onto) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = (values[i] - about) * gain + onto;
}

// Density → matrix · density + offset → light, in place. `correction` is taken off intensities in [0, 1].
void affine_density(std::uint8_t* rgb, std::int64_t pixels, const Table& densities, const Matrix3& matrix, const Vector3& offset, double correction,
                    bool tissue_only) {
  std::array<float, 9> m{};
  std::array<float, 3> o{};
  for (std::size_t i = 0; i < 3; ++i) {
    o[i] = static_cast<float>(offset[i]);
    for (std::size_t j = 0; j < 3; ++j) m[3 * i + j] = static_cast<float>(matrix[i][j]);
  }
  std::array<float, 256> density_of{};
  for (std::size_t i = 0; i < density_of.size(); ++i) density_of[i] = static_cast<float>(densities[i]);
  Planes od;
  std::array<std::uint8_t, 3 * kBlock> changed;
  for (std::int64_t done = 0; done < pixels; done += kBlock) {
    const auto n = std::min(kBlock, pixels - done);
    std::uint8_t* block = rgb + 3 * done;
    for (std::int64_t i = 0; i < n; ++i) {
      od.r[i] = density_of[block[3 * i]];
      od.g[i] = density_of[block[3 * i + 1]];
      od.b[i] = density_of[block[3 * i + 2]];
    }
    from_density(od, n, m.data(), o.data(), static_cast<float>(255 * correction), changed.data());
    if (!tissue_only) std::copy_n(changed.data(), 3 * n, block);
    for (std::int64_t i = 0; tissue_only && i < n; ++i)
      if (is_tissue(block + 3 * i)) std::copy_n(changed.data() + 3 * i, 3, block + 3 * i);
  }
}

}  // namespace

DensityChange hed_change(const std::array<double, 3>& scale, const std::array<double, 3>& shift) {
  // c = d·M⁻¹, d' = (scale∘c + shift)·M: one matrix and one offset.
  static const auto unmix = inverse(kHed);
  DensityChange change;
  for (std::size_t to = 0; to < 3; ++to) {
    for (std::size_t stain = 0; stain < 3; ++stain) {
      change.offset[to] += shift[stain] * kHed[stain][to];
      for (std::size_t from = 0; from < 3; ++from) change.matrix[to][from] += unmix[from][stain] * scale[stain] * kHed[stain][to];
    }
  }
  return change;
}

void hed_jitter(std::uint8_t* rgb, std::int64_t pixels, const std::array<double, 3>& scale, const std::array<double, 3>& shift) {
  static const Table densities = table_of(hed_density);
  const auto change = hed_change(scale, shift);
  affine_density(rgb, pixels, densities, change.matrix, change.offset, kDensityOffset, false);
}

void macenko_transform(std::uint8_t* rgb, std::int64_t pixels, const Stains& source, const Stains& target, const StainChange& change) {
  std::array<Vector3, 2> by{};
  unmix(source.vectors, by);
  Matrix3 matrix{};
  Vector3 offset{};
  for (std::size_t to = 0; to < 3; ++to) {
    for (std::size_t k = 0; k < 2; ++k) {
      const double gain = target.most[k] / source.most[k];
      offset[to] += change.shift[k] * gain * target.vectors[k][to];
      for (std::size_t from = 0; from < 3; ++from) matrix[to][from] += by[k][from] * change.scale[k] * gain * target.vectors[k][to];
    }
  }
  affine_density(rgb, pixels, densities_of_bytes(), matrix, offset, 0, change.tissue_only);
}

std::optional<LabMoments> reinhard_fit(const std::uint8_t* rgb, std::int64_t pixels) {
  // About the first pixel's colour, so that squares of what is large and alike are not taken off each other.
  LabMoments moments{};
  PlanesOf<double> lab;
  Vector3 about{}, squares{};
  std::array<std::uint8_t, 3 * kBlock> tissue;
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto here = std::min(kBlock, pixels - first);
    std::int64_t n = 0;
    for (std::int64_t i = first; i < first + here; ++i)
      if (is_tissue(rgb + 3 * i)) std::copy_n(rgb + 3 * i, 3, tissue.data() + 3 * n++);
    if (n == 0) continue;
    to_lab(tissue.data(), n, lab);
    const std::array<const double*, 3> planes{lab.r, lab.g, lab.b};
    for (std::size_t c = 0; c < 3; ++c) {
      if (count == 0) about[c] = planes[c][0];
      const auto [sum, square] = moments_of(planes[c], n, about[c]);
      moments.mean[c] += sum;
      squares[c] += square;
    }
    count += n;
  }
  const auto n = static_cast<double>(count);
  if (count < kFewestTissue || n < kLeastTissue * static_cast<double>(pixels)) return std::nullopt;
  for (std::size_t c = 0; c < 3; ++c) {
    const double offset = moments.mean[c] / n;
    moments.mean[c] = about[c] + offset;
    moments.spread[c] = std::sqrt(std::max(squares[c] / n - offset * offset, 0.0));
  }
  return moments;
}

void reinhard_transform(std::uint8_t* rgb, std::int64_t pixels, const LabMoments& source, const LabMoments& target) {
  PlanesOf<double> lab;
  std::array<std::uint8_t, 3 * kBlock> changed;
  for (std::int64_t first = 0; first < pixels; first += kBlock) {
    const auto n = std::min(kBlock, pixels - first);
    to_lab(rgb + 3 * first, n, lab);
    const std::array<double*, 3> planes{lab.r, lab.g, lab.b};
    for (std::size_t c = 0; c < 3; ++c) {
      const double gain = source.spread[c] > 1e-6 ? target.spread[c] / source.spread[c] : 1;
      scale_about(planes[c], n, source.mean[c], gain, target.mean[c]);
    }
    from_lab(lab, n, changed.data());
    for (std::int64_t i = 0; i < n; ++i)
      if (is_tissue(rgb + 3 * (first + i))) std::copy_n(changed.data() + 3 * i, 3, rgb + 3 * (first + i));
  }
}

}  // namespace sslmed::transforms
