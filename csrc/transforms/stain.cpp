#include "transforms/stain.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/simd.h"
#include "transforms/density.h"
#include "transforms/planes.h"
#include "transforms/symmetric.h"

namespace sslmed::transforms {
namespace {

using Vector = std::array<double, 3>;
using Table = std::array<double, 256>;

template <class F>
Table table_of(F&& value) {
  Table table{};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = value(static_cast<double>(i));
  return table;
}

const Table& density() {
  static const Table table = table_of(macenko_density);
  return table;
}

const Table& linear() {
  static const Table table = table_of(linear_light);
  return table;
}

bool is_tissue(const std::uint8_t* p) {
  const auto& light = linear();
  return is_tissue_light(light[p[0]], light[p[1]], light[p[2]]);
}

std::uint8_t to_byte(double value) { return static_cast<std::uint8_t>(std::clamp(value + 0.5, 0.0, 255.0)); }

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

// Density → matrix · density + offset → light, in place. `correction` is taken off intensities in [0, 1].
void affine_density(std::uint8_t* rgb, std::int64_t pixels, const Table& densities, const std::array<Vector, 3>& matrix, const Vector& offset,
                    double correction, bool tissue_only) {
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

std::array<Vector, 3> inverse(const std::array<Vector, 3>& m) {
  std::array<Vector, 3> out{};
  const auto minor = [&](std::size_t i, std::size_t j) {
    const std::size_t a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
    return m[a][c] * m[b][d] - m[a][d] * m[b][c];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) out[j][i] = minor(i, j) / determinant;
  return out;
}

std::array<Vector, 2> unmixing(const std::array<Vector, 2>& vectors) {
  std::array<Vector, 2> out{};
  unmix(vectors, out);
  return out;
}

// As NumPy has it: linear between the values beside the place.
double percentile(std::vector<double>& values, double share) {
  const auto rank = rank_of(share, static_cast<std::int64_t>(values.size()));
  const auto low = static_cast<std::size_t>(rank.low);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(low), values.end());
  if (low + 1 >= values.size()) return values[low];
  const double next = *std::min_element(values.begin() + static_cast<std::ptrdiff_t>(low) + 1, values.end());
  return values[low] + rank.fraction * (next - values[low]);
}

double lab_curve(double t) { return t > 216.0 / 24389 ? std::cbrt(t) : (24389.0 / 27 * t + 16) / 116; }
double lab_inverse(double f) { return f > 6.0 / 29 ? f * f * f : (116 * f - 16) * 27 / 24389; }

constexpr std::array<Vector, 3> kToXyz{{{0.412453, 0.357580, 0.180423}, {0.212671, 0.715160, 0.072169}, {0.019334, 0.119193, 0.950227}}};
constexpr Vector kWhite{0.950456, 1.0, 1.088754};

Vector lab_of(const std::uint8_t* p) {
  const auto& light = linear();
  Vector f{};
  for (std::size_t i = 0; i < 3; ++i) f[i] = lab_curve((kToXyz[i][0] * light[p[0]] + kToXyz[i][1] * light[p[1]] + kToXyz[i][2] * light[p[2]]) / kWhite[i]);
  return {116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])};
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

std::optional<Stains> macenko_fit(const std::uint8_t* rgb, std::int64_t pixels) {
  const auto& od = density();
  std::vector<Vector> tissue;
  Vector mean{};
  for (std::int64_t i = 0; i < pixels; ++i) {
    const auto* p = rgb + 3 * i;
    if (!is_tissue(p)) continue;
    tissue.push_back({od[p[0]], od[p[1]], od[p[2]]});
    for (std::size_t c = 0; c < 3; ++c) mean[c] += tissue.back()[c];
  }
  const auto n = static_cast<double>(tissue.size());
  if (n < kFewestTissue || n < kLeastTissue * static_cast<double>(pixels)) return std::nullopt;
  std::vector<double> covariance(9, 0.0);
  for (auto& value : mean) value /= n;
  for (const auto& d : tissue)
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j) covariance[3 * i + j] += (d[i] - mean[i]) * (d[j] - mean[j]) / (n - 1);
  const auto [values, vectors] = symmetric_eigen(covariance, 3);
  std::array<std::size_t, 3> order{0, 1, 2};
  std::sort(order.begin(), order.end(), [&v = values](std::size_t a, std::size_t b) { return v[a] > v[b]; });
  if (!(values[order[1]] > kFlat)) return std::nullopt;
  std::array<Vector, 2> plane{};
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t c = 0; c < 3; ++c) plane[k][c] = vectors[3 * c + order[k]];
    if (plane[k][0] < 0)
      for (auto& value : plane[k]) value = -value;
  }
  std::vector<double> angles;
  angles.reserve(tissue.size());
  for (const auto& d : tissue) {
    Vector p{};
    for (std::size_t k = 0; k < 2; ++k) p[k] = d[0] * plane[k][0] + d[1] * plane[k][1] + d[2] * plane[k][2];
    angles.push_back(std::atan2(p[1], p[0]));
  }
  const std::array<double, 2> ends{percentile(angles, kFirstEnd), percentile(angles, kLastEnd)};
  Stains stains{};
  for (std::size_t k = 0; k < 2; ++k) {
    double length = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      stains.vectors[k][c] = std::cos(ends[k]) * plane[0][c] + std::sin(ends[k]) * plane[1][c];
      length += stains.vectors[k][c] * stains.vectors[k][c];
    }
    for (auto& value : stains.vectors[k]) value /= std::sqrt(length);
  }
  if (ends[1] - ends[0] < kLeastAngle) return std::nullopt;
  // Haematoxylin takes more of the red light.
  if (stains.vectors[0][0] < stains.vectors[1][0]) std::swap(stains.vectors[0], stains.vectors[1]);
  const auto unmix = unmixing(stains.vectors);
  std::vector<double> densities(static_cast<std::size_t>(pixels));
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::int64_t i = 0; i < pixels; ++i) {
      const auto* p = rgb + 3 * i;
      densities[static_cast<std::size_t>(i)] = od[p[0]] * unmix[k][0] + od[p[1]] * unmix[k][1] + od[p[2]] * unmix[k][2];
    }
    stains.most[k] = percentile(densities, kLastEnd);
    if (!(stains.most[k] > kLeastDensity)) return std::nullopt;
  }
  return stains;
}

void macenko_transform(std::uint8_t* rgb, std::int64_t pixels, const Stains& source, const Stains& target, const StainChange& change) {
  const auto unmix = unmixing(source.vectors);
  std::array<Vector, 3> matrix{};
  Vector offset{};
  for (std::size_t to = 0; to < 3; ++to) {
    for (std::size_t k = 0; k < 2; ++k) {
      const double gain = target.most[k] / source.most[k];
      offset[to] += change.shift[k] * gain * target.vectors[k][to];
      for (std::size_t from = 0; from < 3; ++from) matrix[to][from] += unmix[k][from] * change.scale[k] * gain * target.vectors[k][to];
    }
  }
  affine_density(rgb, pixels, density(), matrix, offset, 0, change.tissue_only);
}

LabMoments reinhard_fit(const std::uint8_t* rgb, std::int64_t pixels) {
  LabMoments moments{};
  std::vector<Vector> values(static_cast<std::size_t>(pixels));
  for (std::int64_t i = 0; i < pixels; ++i) {
    values[static_cast<std::size_t>(i)] = lab_of(rgb + 3 * i);
    for (std::size_t c = 0; c < 3; ++c) moments.mean[c] += values[static_cast<std::size_t>(i)][c] / static_cast<double>(pixels);
  }
  for (const auto& value : values)
    for (std::size_t c = 0; c < 3; ++c) moments.spread[c] += (value[c] - moments.mean[c]) * (value[c] - moments.mean[c]) / static_cast<double>(pixels);
  for (auto& value : moments.spread) value = std::sqrt(value);
  return moments;
}

void reinhard_transform(std::uint8_t* rgb, std::int64_t pixels, const LabMoments& source, const LabMoments& target) {
  static const auto to_rgb = inverse(kToXyz);
  for (std::int64_t i = 0; i < pixels; ++i) {
    auto lab = lab_of(rgb + 3 * i);
    for (std::size_t c = 0; c < 3; ++c) {
      const double gain = source.spread[c] > 1e-6 ? target.spread[c] / source.spread[c] : 1;
      lab[c] = (lab[c] - source.mean[c]) * gain + target.mean[c];
    }
    const double y = (lab[0] + 16) / 116;
    const Vector xyz{kWhite[0] * lab_inverse(y + lab[1] / 500), kWhite[1] * lab_inverse(y), kWhite[2] * lab_inverse(y - lab[2] / 200)};
    for (std::size_t c = 0; c < 3; ++c) {
      const double light = to_rgb[c][0] * xyz[0] + to_rgb[c][1] * xyz[1] + to_rgb[c][2] * xyz[2];
      rgb[3 * i + static_cast<std::int64_t>(c)] = to_byte(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055));
    }
  }
}

}  // namespace sslmed::transforms
