#pragma once
// Colours of stained tissue, in optical density: jitter of haematoxylin, eosin and DAB, Macenko's stain separation, Reinhard's means and
// spreads. Pictures are RGB, 8 bits, and change in place.

#include <array>
#include <cstdint>
#include <optional>

namespace sslmed::transforms {

// Rows: haematoxylin, eosin, DAB (Ruifrok and Johnston, 2001).
inline constexpr std::array<std::array<double, 3>, 3> kHed{{{0.65, 0.70, 0.29}, {0.07, 0.99, 0.11}, {0.27, 0.57, 0.78}}};

// Each stain's density c becomes scale·c + shift (Tellez et al., 2018). Density is -ln(I + 1e-6) of intensities in [0, 1].
void hed_jitter(std::uint8_t* rgb, std::int64_t pixels, const std::array<double, 3>& scale, const std::array<double, 3>& shift);

// Density d becomes matrix · d + offset.
struct DensityChange {
  std::array<std::array<double, 3>, 3> matrix{};
  std::array<double, 3> offset{};
};
DensityChange hed_change(const std::array<double, 3>& scale, const std::array<double, 3>& shift);

// Two stains of a picture (Macenko et al., 2009).
struct Stains {
  std::array<std::array<double, 3>, 2> vectors;  // unit length, haematoxylin first
  std::array<double, 2> most;                    // 99th percentile of their densities
};

// Nothing where the picture has no tissue to speak of: fewer than 100 pixels or 1 % darker than L* = 80, tissue of one colour, or stains less than 8 degrees
// apart, which are one.
std::optional<Stains> macenko_fit(const std::uint8_t* rgb, std::int64_t pixels);

// Densities by `source`, times scale, plus shift, drawn with the vectors and to the 99th percentiles of `target`. With target = source
// and no scale and shift only what the two stains do not explain changes. `tissue_only`: pixels lighter than L* = 80 stay.
struct StainChange {
  std::array<double, 2> scale{1, 1}, shift{0, 0};
  bool tissue_only = false;
};
void macenko_transform(std::uint8_t* rgb, std::int64_t pixels, const Stains& source, const Stains& target, const StainChange& change = {});

// Mean and spread (population) of L*, a* and b* (CIELAB, D65) of pixels darker than L* = 80: of tissue, whatever share of the picture is glass.
struct LabMoments {
  std::array<double, 3> mean, spread;
};
// Nothing where the picture has fewer than 100 such pixels, or 1 %.
std::optional<LabMoments> reinhard_fit(const std::uint8_t* rgb, std::int64_t pixels);
// Pixels lighter than L* = 80 stay. A channel without spread only moves.
void reinhard_transform(std::uint8_t* rgb, std::int64_t pixels, const LabMoments& source, const LabMoments& target);

}  // namespace sslmed::transforms
