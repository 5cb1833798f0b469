#pragma once
// Two label maps of one shape, read once: what each label covers, and what each pair of labels shares.

#include <array>
#include <cstdint>
#include <vector>

#include "metrics/grid.h"

namespace sslmed::metrics {

struct LabelArea {
  std::int32_t label = 0;
  std::int64_t cells = 0;
  std::array<double, 3> sum{0, 0, 0};  // of the cells' indices: the center is sum / cells
};

struct Overlap {
  std::int32_t prediction = 0;  // positions in the lists of labels
  std::int32_t reference = 0;
  std::int64_t cells = 0;
};

struct Overlaps {
  std::vector<LabelArea> prediction, reference;  // ascending labels, without 0
  std::vector<Overlap> pairs;                    // that share cells; ascending
};

// The maps must have one shape.
Overlaps overlaps_of(const LabelMap& prediction, const LabelMap& reference);

// Cells of the object in the prediction, in the reference, and in both. The maps must have one shape.
std::array<std::int64_t, 3> mask_counts(const LabelMap& prediction, const LabelMap& reference, const Which& which);

}  // namespace sslmed::metrics
