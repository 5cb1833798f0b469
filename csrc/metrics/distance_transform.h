#pragma once
// The exact Euclidean distance transform (Felzenszwalb and Huttenlocher, Theory of Computing 2012).

#include <cstdint>

#include "metrics/grid.h"

namespace sslmed::metrics {

// out[i]: mm from cell i to the nearest cell that is 0, between centers; infinite where no cell is 0.
void distance_transform(const LabelMap& map, const Spacing& spacing, double* out, unsigned threads);

}  // namespace sslmed::metrics
