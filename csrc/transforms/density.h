#pragma once
// Optical density of stains: the formulas of stain.h, for the CPU's tables and for kernels.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace sslmed::transforms {

constexpr std::int64_t kFewestTissue = 100;                 // pixels of tissue that say something about its stains,
constexpr double kLeastTissue = 0.01;                       // and share of all
constexpr double kDensityOffset = 1e-6;                     // of intensities in [0, 1], where HED has black
constexpr double kFarthestDensity = 15;                     // beyond which light is black or white
constexpr double kFirstEnd = 0.01, kLastEnd = 0.99;         // percentiles of angles that are taken for pure stains; the last one also of their densities
constexpr double kFlat = 1e-12;                             // second eigenvalue of tissue of one colour
constexpr double kLeastAngle = 0.14, kLeastDensity = 1e-6;  // 8 degrees: stains lie 20 to 40 apart, and noise spreads one stain by up to 5

// Of a byte. Macenko's: black counts as the darkest grey that is not.
SSLMED_FORMULA double macenko_density(double v) { return std::fmax(-std::log(std::fmax(v, 1.0) / 255), 1e-6); }
SSLMED_FORMULA double hed_density(double v) { return -std::log(v / 255 + kDensityOffset); }

// Light behind sRGB's gamma.
SSLMED_FORMULA double linear_light(double v) {
  const double s = v / 255;
  return s <= 0.04045 ? s / 12.92 : std::pow((s + 0.055) / 1.055, 2.4);
}

// Tissue is darker than L* = 80, of linear light.
SSLMED_FORMULA bool is_tissue_light(double r, double g, double b) {
  constexpr double kEdge = (100 * 0.8 + 16) / 116;
  return 0.212671 * r + 0.715160 * g + 0.072169 * b < kEdge * kEdge * kEdge;
}

// Rows that give the densities of two stains by least squares: pinv of the vectors, [2, 3].
template <class Rows>
SSLMED_FORMULA void unmix(const Rows& v, Rows& out) {
  double aa = 0, ab = 0, bb = 0;
  for (std::size_t c = 0; c < 3; ++c) {
    aa += v[0][c] * v[0][c];
    ab += v[0][c] * v[1][c];
    bb += v[1][c] * v[1][c];
  }
  const double determinant = aa * bb - ab * ab;
  for (std::size_t c = 0; c < 3; ++c) {
    out[0][c] = (bb * v[0][c] - ab * v[1][c]) / determinant;
    out[1][c] = (aa * v[1][c] - ab * v[0][c]) / determinant;
  }
}

// Between which values of n in order a share of them lies, as NumPy has it.
struct Rank {
  std::int64_t low;
  double fraction;
};
SSLMED_FORMULA Rank rank_of(double share, std::int64_t n) {
  const double place = share * static_cast<double>(n - 1);
  const auto low = static_cast<std::int64_t>(place);
  return {low, place - static_cast<double>(low)};
}

}  // namespace sslmed::transforms
