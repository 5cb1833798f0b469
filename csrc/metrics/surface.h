#pragma once
// Surfaces of masks, as the public libraries take them, and the Euler characteristic.

#include <cstdint>
#include <vector>

#include "metrics/grid.h"

namespace sslmed::metrics {

enum class SurfaceKind {
  // Cells of the object with a neighbor outside, face to face; what is beyond the edge is outside. MONAI, medpy and
  // MetricsReloaded take these, each of the same weight.
  kCells,
  // Corners of cells whose neighborhood (2x2 or 2x2x2) is partly inside, with the area or length of the surface in it:
  // google-deepmind/surface-distance, and MONAI with use_subvoxels.
  kCorners,
};

struct Surface {
  std::vector<std::int32_t> x, y, z;
  std::vector<double> area;  // kCorners only: mm² (mm in pictures)

  std::size_t size() const noexcept { return x.size(); }
};

// In cells of the map; corner i lies between the cells i - 1 and i. `spacing` is for areas alone.
Surface surface_of(const Mask& mask, SurfaceKind kind, const Spacing& spacing);

// Area of the surface inside a neighborhood of 2x2x2 cells, by its code: bit 7 is the cell of the lowest indices, bit 0
// that of the highest, the last axis fastest. In pictures the code has four bits and this is a length.
std::vector<double> surface_areas(const Spacing& spacing, int rank);

// Vertices - edges + faces - cells: components - tunnels + cavities. `full`: cells are closed cubes, which touch at
// corners too (26 neighbors, or 8); otherwise they touch at faces alone (6, or 4).
std::int64_t euler_characteristic(const Mask& mask, bool full);

}  // namespace sslmed::metrics
