#include "transforms/lanes.h"

#include <algorithm>
#include <memory>

namespace sslmed::transforms {
namespace {

template <class Real>
SSLMED_INLINE void gather(const Real* const* rows, int n, std::int64_t length, Lanes* into) {
  const Real* row[kLanes];
  for (int c = 0; c < kLanes; ++c) row[c] = rows[std::min(c, n - 1)];
  for (std::int64_t t = 0; t < length; ++t)
    into[t] = Lanes{static_cast<double>(row[0][t]), static_cast<double>(row[1][t]), static_cast<double>(row[2][t]), static_cast<double>(row[3][t])};
}

}  // namespace

Lanes* LaneBuffer::resize(std::int64_t length) {
  const auto size = static_cast<std::size_t>(length) * sizeof(Lanes);
  if (bytes_.size() < size + sizeof(Lanes)) bytes_.resize(size + sizeof(Lanes));
  void* at = bytes_.data();
  std::size_t space = bytes_.size();
  return static_cast<Lanes*>(std::align(alignof(Lanes), size, at, space));
}

SSLMED_CLONES void interleave(const float* const* rows, int n, std::int64_t length, Lanes* into) { gather(rows, n, length, into); }
SSLMED_CLONES void interleave(const double* const* rows, int n, std::int64_t length, Lanes* into) { gather(rows, n, length, into); }

SSLMED_CLONES void deinterleave(const Lanes* from, int n, std::int64_t length, double* const* rows) {
  // Time in short blocks, so that a block's lanes stay in the cache while each row is written in one run.
  constexpr std::int64_t kShort = 64;
  for (std::int64_t t0 = 0; t0 < length; t0 += kShort) {
    const std::int64_t stop = std::min(length, t0 + kShort);
    for (int c = 0; c < n; ++c) {
      double* row = rows[c];
      for (std::int64_t t = t0; t < stop; ++t) row[t] = from[t][c];
    }
  }
}

}  // namespace sslmed::transforms
