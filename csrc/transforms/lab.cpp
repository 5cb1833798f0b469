#include "transforms/lab.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

#include "core/simd.h"
#include "transforms/byte_tables.h"
#include "transforms/density.h"

namespace sslmed::transforms {
namespace {

// Rows: X, Y and Z of linear R, G and B, each over the white's.
constexpr double kWhite[3] = {0.950456, 1.0, 1.088754};
constexpr Matrix3 kToXyz{{{0.412453 / kWhite[0], 0.357580 / kWhite[0], 0.180423 / kWhite[0]},
                          {0.212671, 0.715160, 0.072169},
                          {0.019334 / kWhite[2], 0.119193 / kWhite[2], 0.950227 / kWhite[2]}}};
constexpr double kKnee = 6.0 / 29, kKneeCubed = kKnee * kKnee * kKnee, kSlope = 3 * kKnee * kKnee;  // of the inverse curve, below the knee a line

// By sums of magnitudes: GCC has no vector instructions for the choice between two doubles.
SSLMED_INLINE double above(double value, double bound) { return 0.5 * (value + bound + std::abs(value - bound)); }

// t^(1/3) of t within [.008, 2], by Newton's steps towards t^(-1/3): no division, so that the loop over pixels is one of vectors.
SSLMED_INLINE double cube_root(double t) {
  const auto bits = std::bit_cast<std::int32_t>(static_cast<float>(t));
  auto root = static_cast<double>(std::bit_cast<float>(0x54A21000 - static_cast<std::int32_t>(static_cast<float>(bits) * (1.0F / 3))));
  for (int step = 0; step < 4; ++step) root *= (4 - t * root * root * root) * (1.0 / 3);
  return t * root * root;
}

SSLMED_INLINE double curve(double t) {
  const double high = above(t, kKneeCubed);
  return cube_root(high) + (t - high) / kSlope;
}

SSLMED_INLINE double inverse_curve(double f) {
  const double high = above(f, kKnee);
  return high * high * high + (f - high) * kSlope;
}

SSLMED_CLONES void curves(PlanesOf<double>& planes, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double r = planes.r[i], g = planes.g[i], b = planes.b[i];
    const double x = curve(kToXyz[0][0] * r + kToXyz[0][1] * g + kToXyz[0][2] * b), y = curve(kToXyz[1][0] * r + kToXyz[1][1] * g + kToXyz[1][2] * b),
                 z = curve(kToXyz[2][0] * r + kToXyz[2][1] * g + kToXyz[2][2] * b);
    planes.r[i] = 116 * y - 16;
    planes.g[i] = 500 * (x - y);
    planes.b[i] = 200 * (y - z);
  }
}

// Linear light; `m` is the inverse of kToXyz.
SSLMED_CLONES void inverse_curves(const PlanesOf<double>& lab, std::int64_t n, Matrix3 m, PlanesOf<double>& light) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double f = (lab.r[i] + 16) * (1.0 / 116);
    const double x = inverse_curve(f + lab.g[i] * (1.0 / 500)), y = inverse_curve(f), z = inverse_curve(f - lab.b[i] * (1.0 / 200));
    light.r[i] = m[0][0] * x + m[0][1] * y + m[0][2] * z;
    light.g[i] = m[1][0] * x + m[1][1] * y + m[1][2] * z;
    light.b[i] = m[2][0] * x + m[2][1] * y + m[2][2] * z;
  }
}

// Bytes of linear light. sRGB's gamma is a power; looked up instead: the byte at the start of each of 4,096 steps, of which none holds two of the
// places where the byte changes, and those places.
class Gamma {
 public:
  Gamma() {
    for (std::size_t byte = 0; byte < 255; ++byte) next_[byte] = linear_light(static_cast<double>(byte) + 0.5);
    next_[255] = 2;
    for (std::size_t step = 0, byte = 0; step < first_.size(); ++step) {
      while (next_[byte] <= static_cast<double>(step) / kSteps) ++byte;
      first_[step] = static_cast<std::uint8_t>(byte);
    }
  }
  std::uint8_t byte_of(double light) const {
    const double within = std::clamp(light, 0.0, 1.0);
    const auto first = first_[static_cast<std::size_t>(within * kSteps)];
    return static_cast<std::uint8_t>(first + (within >= next_[first] ? 1 : 0));
  }

 private:
  static constexpr int kSteps = 4096;
  std::array<double, 256> next_{};  // light from which on the byte is one more
  std::array<std::uint8_t, kSteps + 1> first_{};
};

}  // namespace

void to_lab(const std::uint8_t* rgb, std::int64_t n, PlanesOf<double>& lab) {
  const auto& light = light_of_bytes();
  for (std::int64_t i = 0; i < n; ++i) {
    lab.r[i] = light[rgb[3 * i]];
    lab.g[i] = light[rgb[3 * i + 1]];
    lab.b[i] = light[rgb[3 * i + 2]];
  }
  curves(lab, n);
}

void from_lab(const PlanesOf<double>& lab, std::int64_t n, std::uint8_t* rgb) {
  static const auto from_xyz = inverse(kToXyz);
  static const Gamma gamma;
  PlanesOf<double> light;
  inverse_curves(lab, n, from_xyz, light);
  for (std::int64_t i = 0; i < n; ++i) {
    rgb[3 * i] = gamma.byte_of(light.r[i]);
    rgb[3 * i + 1] = gamma.byte_of(light.g[i]);
    rgb[3 * i + 2] = gamma.byte_of(light.b[i]);
  }
}

}  // namespace sslmed::transforms
