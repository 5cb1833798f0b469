#pragma once
// Where the cells of a changed volume lie in the one it was made of: affine changes, flips, windows, grids of another
// spacing and elastic displacements, in any order, and back.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "transforms/geometry.h"
#include "transforms/volume_formulas.h"

namespace sslmed::transforms {

using VolumeShape = std::array<std::int64_t, 3>;  // cells along X, Y, Z; Z fastest
using VolumeSpacing = std::array<double, 3>;      // mm

// Displacements of a cubic B-spline's control points, evenly spaced over a volume and one mesh beyond it (as ITK places
// them).
struct ElasticField {
  std::array<std::int64_t, 3> points;  // at least 4 along each axis
  std::vector<float> displacement;     // [points…, 3] mm along X, Y, Z: where a place of the result comes from, less that place
};

struct VolumeStep {
  WarpStep::Kind kind = WarpStep::kAffine;
  Geometry geometry;                                // kAffine: of rank 3
  std::shared_ptr<const std::vector<float>> field;  // elastic: [points…, 4] cells, the last 0
  std::array<std::int64_t, 3> points{};
  VolumeShape shape{};  // elastic: cells of the volume that it is on
};

// Steps and control points as the warping loops and the kernels take them.
struct WarpSteps {
  std::vector<WarpStep> steps;
  std::vector<float> controls;
};

struct VolumeMap {
  VolumeShape from, to;
  VolumeSpacing from_spacing, to_spacing;
  std::vector<VolumeStep> steps;  // the first one takes a place of the result; two affine steps in a row are one

  static VolumeMap identity(const VolumeShape& shape, const VolumeSpacing& spacing);
  // Each of these is done to the result of what is there. ValueError where a number is out of range.
  // The volume turns about its center by `degrees` about the Y, then the X, then the Z axis, moves by `translation` mm
  // and grows by `scales` (TorchIO's Affine, axes RAS+).
  VolumeMap& affine(const std::array<double, 3>& scales, const std::array<double, 3>& degrees, const std::array<double, 3>& translation);
  VolumeMap& elastic(const ElasticField& field);
  VolumeMap& flip(std::size_t axis);
  // Cells from `first` on, which may lie outside: crops and pads.
  VolumeMap& window(const std::array<std::int64_t, 3>& first, const VolumeShape& shape);
  // As many cells are cut or added on both sides; of an odd number the first side has one more (TorchIO's CropOrPad).
  VolumeMap& crop_or_pad(const VolumeShape& shape);
  VolumeMap& resample(const VolumeSpacing& spacing);
  // `next` is done to the result of this: its source must have this result's shape and spacing.
  VolumeMap& then(const VolumeMap& next);

  VolumeMap inverse() const;
  WarpSteps flat() const;
  // [n, 3] places of the source to those of the result, or with `back` the other way, in place. ValueError where an
  // elastic step cannot be undone because it folds space.
  void move_points(double* points, std::int64_t n, bool back) const;
};

[[noreturn]] void throw_folded();

}  // namespace sslmed::transforms
