#include "metrics/distance_transform.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"

namespace sslmed::metrics {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Squared distances along a row of the last axis.
template <class T>
void scan_row(const T* row, std::int64_t n, double step, double* out) {
  std::int64_t last = -1;
  for (std::int64_t z = 0; z < n; ++z) {
    if (row[z] == 0) last = z;
    const double far = static_cast<double>(z - last) * step;
    out[z] = last < 0 ? kInfinite : far * far;
  }
  last = n;
  for (std::int64_t z = n - 1; z >= 0; --z) {
    if (row[z] == 0) last = z;
    const double far = static_cast<double>(last - z) * step;
    if (last < n && far * far < out[z]) out[z] = far * far;
  }
}

// The lower envelope of parabolas with their roots at the cells of a line.
struct Envelope {
  std::vector<double> heights, from;
  std::vector<std::int64_t> roots;

  explicit Envelope(std::int64_t n) : heights(static_cast<std::size_t>(n)), from(static_cast<std::size_t>(n) + 1), roots(static_cast<std::size_t>(n)) {}

  // values[i * stride] += … of the nearest root, in place.
  void lower(double* values, std::int64_t n, std::int64_t stride, double step) {
    const double weight = step * step;
    std::size_t kept = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double height = values[i * stride];
      heights[static_cast<std::size_t>(i)] = height;
      if (std::isinf(height)) continue;
      const auto at = static_cast<double>(i);
      double start = -kInfinite;
      while (kept > 0) {
        const auto root = roots[kept - 1];
        const auto r = static_cast<double>(root);
        const double rise = height - heights[static_cast<std::size_t>(root)];
        start = (rise / weight + (at - r) * (at + r)) / (2 * (at - r));
        if (start > from[kept - 1]) break;
        --kept;
        start = -kInfinite;
      }
      roots[kept] = i;
      from[kept++] = start;
    }
    if (kept == 0) return;
    std::size_t k = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      while (k + 1 < kept && from[k + 1] < static_cast<double>(i)) ++k;
      const double far = static_cast<double>(i - roots[k]) * step;
      values[i * stride] = heights[static_cast<std::size_t>(roots[k])] + far * far;
    }
  }
};

}  // namespace

void distance_transform(const LabelMap& map, const Spacing& spacing, double* out, unsigned threads) {
  const auto [nx, ny, nz] = map.shape;
  const std::int64_t slice = ny * nz;
  const std::int64_t grain = std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(slice, 1));
  divide(nx, grain, threads, [&, ny = ny, nz = nz](std::int64_t first, std::int64_t last) {
    Envelope envelope(ny);
    for (auto x = first; x < last; ++x) {
      double* plane = out + x * slice;
      for (std::int64_t y = 0; y < ny; ++y) {
        const auto at = (x * ny + y) * nz;
        if (map.narrow) {
          scan_row(map.narrow + at, nz, spacing[2], out + at);
        } else {
          scan_row(map.wide + at, nz, spacing[2], out + at);
        }
      }
      for (std::int64_t z = 0; z < nz; ++z) envelope.lower(plane + z, ny, nz, spacing[1]);
    }
  });
  divide(slice, 1024, threads, [&, nx = nx](std::int64_t first, std::int64_t last) {
    Envelope envelope(nx);
    for (auto i = first; i < last; ++i) envelope.lower(out + i, nx, slice, spacing[0]);
  });
  divide(map.cells(), 1 << 16, threads, [&](std::int64_t first, std::int64_t last) {
    for (auto i = first; i < last; ++i) out[i] = std::sqrt(out[i]);
  });
}

}  // namespace sslmed::metrics
