#pragma once
// Volumes on a grid of another spacing, axis by axis.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sslmed::transforms {

// Source [from…] and result [to…] are [X, Y, Z], Z fastest. The middle of cell i lies at (i + 0.5) · spacing from the
// edge of the first cell.
struct ResampleGrid {
  std::array<std::int64_t, 3> from, to;
  std::array<double, 3> from_spacing, to_spacing;  // mm
  std::array<double, 3> offset;                    // mm: where the edge of the result's first cell lies in the source's frame
};

// The grid of `spacing` that keeps the volume's center: as many whole cells as fit, one where the source has one
// (TorchIO's Resample, but for cells that rounding would cost). ValueError where a spacing is not positive, or no cell
// fits along an axis of several cells.
ResampleGrid resample_grid(const std::array<std::int64_t, 3>& shape, const std::array<double, 3>& from_spacing, const std::array<double, 3>& spacing);

// Of each cell along one axis of a result: the source cells it is made of and their weights. Tap t of cell i stands at
// t · cells + i, so that a loop over cells reads them in order.
struct AxisTaps {
  std::int64_t taps = 0, cells = 0;
  std::vector<std::int32_t> index;
  std::vector<float> weight;
  bool same = false;  // whether the result's cells are the source's
};

// Those of resample_linear.
AxisTaps linear_taps(const ResampleGrid& grid, std::size_t axis, bool antialias);

// Linear between the middles of cells; outside of the source stands the nearest cell at its edge. With `antialias` the
// triangle is as wide as the result's cells along axes that shrink. `source` and `into` must not overlap. ValueError
// where the grid has no cells or no spacing.
void resample_linear(const ResampleGrid& grid, const float* source, bool antialias, float* into);
// The source cell in which a result's middle lies; outside of the source the nearest cell at its edge.
void resample_nearest(const ResampleGrid& grid, const float* source, float* into);
void resample_nearest(const ResampleGrid& grid, const std::int32_t* source, std::int32_t* into);
void resample_nearest(const ResampleGrid& grid, const std::uint8_t* source, std::uint8_t* into);

}  // namespace sslmed::transforms
