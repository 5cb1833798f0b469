#pragma once
// The nearest place of a surface where it is near: places are bits of rows along the last axis, and rows are asked from
// the nearest one on until none can be nearer.

#include <cstdint>
#include <vector>

#include "metrics/surface.h"

namespace sslmed::metrics {

class NearRows {
 public:
  // The surface must not be empty.
  NearRows(const Surface& surface, const Spacing& spacing);

  // Squared mm to the nearest place, or -1 where it may be farther than what is looked at: 8 rows, or 32 cells.
  double squared(std::int64_t x, std::int64_t y, std::int64_t z) const;

 private:
  struct Step {
    std::int64_t x, y;
    double squared;
  };
  // Cells from `z` to the nearest place of a row, within 32; 64 without one.
  int steps_to(const std::uint64_t* row, std::int64_t z) const;

  Shape origin_{0, 0, 0}, size_{0, 0, 0};
  std::int64_t words_ = 0;  // of a row: one of 0 before its cells, and two after them
  std::vector<std::uint64_t> bits_;
  std::vector<Step> steps_;  // nearest first
  double cell_ = 1, frontier_ = 0;
};

}  // namespace sslmed::metrics
