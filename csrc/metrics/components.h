#pragma once
// Connected components of masks.

#include <cstdint>

#include "metrics/grid.h"

namespace sslmed::metrics {

// Numbers components from 1 on, in the order of their first cells; 0 is outside. Cells touch where they differ by one
// along at most `connectivity` axes: 1 face to face, 2 also along edges (in pictures: corners), 3 at corners too.
// Returns the number of components.
std::int32_t connected_components(const LabelMap& map, int connectivity, std::int32_t* out);

}  // namespace sslmed::metrics
