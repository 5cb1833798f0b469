#pragma once
// Random spatial changes of volumes: flips, affine changes, elastic displacements, a window and lost resolution along one
// axis, drawn from one sequence of numbers. All but the last are one map, so that values are interpolated once.

#include <array>
#include <cstdint>
#include <optional>

#include "core/random.h"
#include "transforms/volume_map.h"
#include "transforms/volume_resample.h"
#include "transforms/volume_warp.h"

namespace sslmed::transforms {

struct VolumeSpatialOptions {
  std::array<double, 3> p_flip{0.5, 0, 0};  // of each axis; of brains in RAS+ only left and right look alike
  double p_affine = 0.8;
  double scales = 0.1;     // of each axis 1 ± scales
  double degrees = 10;     // about each axis ± degrees
  double translation = 0;  // ± mm along each axis
  double p_elastic = 0.2;
  std::int64_t control_points = 7;  // along each axis
  double max_displacement = 7.5;    // ± mm of a control point along each axis
  std::int64_t locked_borders = 2;  // outer layers of control points that stay
  double p_anisotropy = 0.25;
  std::array<double, 2> anisotropy{1.5, 5};     // how many times thicker the cells of one axis are
  std::array<std::int64_t, 3> window{0, 0, 0};  // cells of the result; 0 keeps an axis as it is
  bool random_window = true;                    // where an axis is cut: anywhere, or in the middle
  std::optional<double> fill;                   // what lies outside; the volume's minimum where not given
};

// ValueError that names the option that is out of range.
void check(const VolumeSpatialOptions& options);

// One volume's changes, all drawn, in the order in which they are done.
struct VolumeSpatialPlan {
  VolumeShape shape{};
  VolumeSpacing spacing{};
  std::array<bool, 3> flip{};
  bool affine = false;
  std::array<double, 3> scales{1, 1, 1}, degrees{0, 0, 0}, translation{0, 0, 0};
  std::optional<ElasticField> elastic;
  std::array<std::int64_t, 3> first{};  // cells: where the window starts; negative ones are padded
  VolumeShape window{};
  int anisotropy_axis = -1;  // none
  double anisotropy = 1;
  std::optional<double> fill;

  // Without the lost resolution, which has no inverse.
  VolumeMap map() const;
};

VolumeSpatialPlan plan_spatial(const VolumeShape& shape, const VolumeSpacing& spacing, const VolumeSpatialOptions& options, Philox& random);

// in [shape…] to out [window…]. Linear interpolation loses resolution where the plan says so, the other kinds never do.
// T is float, int32 or uint8.
template <class T>
void apply_spatial(const VolumeSpatialPlan& plan, const T* in, VolumeInterpolation how, T* out);
// in [window…] back to out [shape…]; what the window cut away is `outside`.
template <class T>
void invert_spatial(const VolumeSpatialPlan& plan, const T* in, VolumeInterpolation how, T outside, T* out);

// A volume as if its cells were `factor` times longer along one axis: linear to the coarse grid and back; `source` and
// `into` may be the same (TorchIO's RandomAnisotropy takes the nearest cell on the way down). Edges go on beyond the
// outermost coarse cells.
void lose_resolution(const VolumeShape& shape, std::size_t axis, double factor, const float* source, float* into);
// The same along an axis of so many cells, as weights of the cells themselves.
AxisTaps resolution_taps(std::int64_t cells, double factor);

}  // namespace sslmed::transforms
