#pragma once
// Multichannel signals in blocks of kLanes channels, time after time: the layout in which filters and resamplers work.

#include <cstdint>
#include <vector>

#include "core/simd.h"

namespace sslmed::transforms {

// Grows on demand and keeps its memory, aligned for vector access.
class LaneBuffer {
 public:
  // At least `length` places; what was there before is lost.
  Lanes* resize(std::int64_t length);

 private:
  std::vector<char> bytes_;
};

// Up to kLanes rows of equal length into lanes; spare lanes repeat the last row.
void interleave(const float* const* rows, int n, std::int64_t length, Lanes* into);
void interleave(const double* const* rows, int n, std::int64_t length, Lanes* into);
// The first n lanes into rows.
void deinterleave(const Lanes* from, int n, std::int64_t length, double* const* rows);

}  // namespace sslmed::transforms
