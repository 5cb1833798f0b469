#pragma once
// Changes of the intensities of volumes, float32 [X, Y, Z] with Z fastest, in place: the artifacts of magnetic resonance imaging, and contrast.
// Where a step is not random by itself it gives what TorchIO 1.2.1 gives, but for rounding. Noise is numbered by voxel, so it is the same on every device.
// Each call works in one thread. Values must be finite.

#include <array>
#include <cstdint>
#include <vector>

#include "core/random.h"

namespace sslmed::transforms {

struct FloatVolume {
  float* values;
  std::array<std::int64_t, 3> shape;
  std::array<double, 3> spacing;  // mm

  std::int64_t size() const { return shape[0] * shape[1] * shape[2]; }
};

using NoiseKey = std::array<std::uint32_t, 2>;

struct Extremes {
  float low, high;
};
Extremes extremes(const float* values, std::int64_t n);

// Times exp(polynomial) over axes from -1 to 1 (Van Leemput et al., 1999). 1, 4, 10 or 20 coefficients: orders 0 to 3, the powers of z changing fastest,
// then those of y.
void volume_bias(const FloatVolume& volume, const std::vector<double>& coefficients);

// Coefficients of a lower order at their places among the 20 of order 3.
std::array<double, 20> third_order(const std::vector<double>& coefficients);

// sign(value) · |value|^gamma; gamma must be positive.
void volume_gamma(float* values, std::int64_t n, double gamma);

// Plus normal noise of this standard deviation.
void volume_noise(float* values, std::int64_t n, double std, NoiseKey key);
// The noise itself: standard normal numbers [first, first + n) of a key; first is a multiple of 64 (kNoiseRun).
void normal_numbers(NoiseKey key, std::int64_t first, std::int64_t n, float* into);

// max + min - value.
void volume_inversion(float* values, std::int64_t n);

// (value - min) / (max - min); all zeros where the values are equal.
void volume_to_unit(float* values, std::int64_t n);

// Gaussian of these standard deviations in mm, cut off at 4 of them, edges mirrored, as SciPy's gaussian_filter.
void volume_blur(const FloatVolume& volume, const std::array<double, 3>& sigma);

// Half of the taps of SciPy's Gaussian, the middle one first; sigma in voxels.
std::vector<float> half_gaussian(double sigma);

// Every `ghosts`-th plane of k-space along the axis is weakened to 1 - intensity, but for the central one or, with `restore`, that share of planes about it.
struct GhostingPlan {
  std::int64_t ghosts = 0;  // 0: none
  int axis = 0;
  double intensity = 0;
  double restore = -1;  // negative: the central plane alone
};
void volume_ghosting(const FloatVolume& volume, const GhostingPlan& plan);

// A rigid movement at a time of the acquisition, from 0 to 1: rotations about the x, y and z axes (R = Rz · Rx · Ry) and a translation, in RAS.
struct Movement {
  double time = 0;
  std::array<double, 3> degrees{}, translation{};  // translation in mm
};

// Slabs of k-space along the axis come from the volume as it lay before and after each movement (Shaw et al., 2019); the central slab is that of the
// volume as it is. Voxels from outside of it are its minimum.
struct MotionPlan {
  std::vector<Movement> movements;  // in order of time; none: no motion
  int axis = 2;
  bool about_center = true;        // rotations are about the middle of the volume
  std::array<double, 3> center{};  // or about this place, in mm from the center of the first voxel
};
void volume_motion(const FloatVolume& volume, const MotionPlan& plan);

// Probabilities and strengths of the steps; the defaults of the strengths are TorchIO's. A pair is a range, from which a number is drawn.
struct VolumeIntensityOptions {
  double p_inversion = 0;
  double p_gamma = 0;
  std::array<double, 2> log_gamma{-0.3, 0.3};
  double p_motion = 0;
  double degrees = 10, translation = 10;  // ±, translation in mm
  std::int64_t movements = 2;
  double p_ghosting = 0;
  std::array<std::int64_t, 2> ghosts{4, 10};
  std::array<double, 2> ghosting{0.5, 1};  // intensity
  double p_blur = 0;
  std::array<double, 2> blur_sigma{0, 2};  // mm, drawn for each axis
  double p_bias = 0;
  double bias = 0.5;  // ± of the coefficients, of order 3
  double p_noise = 0;
  std::array<double, 2> noise_std{0, 0.25};
};

// ValueError where an option is out of range.
void check(const VolumeIntensityOptions& options);

// All that is random, in the order in which it is done: contrast, then movement, then what coil and resolution make of it, then noise.
struct VolumeIntensityPlan {
  bool inversion = false;
  double gamma = 1;
  MotionPlan motion;
  GhostingPlan ghosting;
  std::array<double, 3> blur_sigma{};
  std::vector<double> bias;  // empty: none
  double noise_std = 0;
  NoiseKey noise_key{};
};

// The numbers that are drawn do not depend on which steps are done: a change of one probability leaves the other steps as they are.
VolumeIntensityPlan plan_intensity(const VolumeIntensityOptions& options, Philox& random);

void apply_intensity(const VolumeIntensityPlan& plan, const FloatVolume& volume);

}  // namespace sslmed::transforms
