#pragma once
// Volumes with upright axes, and the grid that those of a session are brought to.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "io/nifti.h"
#include "io/volume_store.h"
#include "transforms/orientation.h"

namespace sslmed::volume {

// A volume with its axes to the right, to the front and up; Z runs fastest.
struct Upright {
  std::string name;  // of the file, for messages
  io::Extent3 shape;
  std::array<double, 3> spacing;
  transforms::Affine3 affine;
  transforms::Affine3 inverse;  // mm to cell
  std::vector<float> values;
  std::string orientation;  // of the file
};

// NaN becomes the lowest value. FormatError for infinite values, NaN alone, and an affine that no grid can have.
Upright upright(const std::string& name, const io::Volume3& volume);

struct Grid {
  io::Extent3 shape;
  std::array<double, 3> spacing;
  transforms::Affine3 affine;

  std::int64_t cells() const { return shape[0] * shape[1] * shape[2]; }
};

// The grid of the wanted spacing (0: the reference's own) over the reference's field of view. FormatError where it would
// be too large to hold, or a thousand times finer or coarser than the reference.
Grid target_grid(const Upright& reference, const std::array<double, 3>& spacing);

struct Placed {
  std::vector<float> values;          // of the grid's cells; 0 beyond the field of view
  std::vector<std::uint8_t> covered;  // whether a cell's middle lies in the volume's field of view; empty: all do
};

enum class Sampling {
  kLinear,  // without aliasing along axes that shrink
  kNearest,
};

// FormatError where the volume is a thousand times finer or coarser than the grid.
Placed on_grid(const Upright& volume, const Grid& grid, Sampling sampling);

}  // namespace sslmed::volume
