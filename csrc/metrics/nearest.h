#pragma once
// Distances from each place of one surface to the nearest place of another, exact. Surfaces are thin, so that this takes
// less than a distance transform of the box around them.

#include <cstdint>
#include <vector>

#include "metrics/surface.h"

namespace sslmed::metrics {

// out[i]: mm from place i of `from` to the nearest place of `to`; infinite where that one is empty. What is near is found
// by rows (near_rows.h), what is far by a tree, or one by one where it is little.
void nearest_distances(const Surface& from, const Surface& to, const Spacing& spacing, double* out, unsigned threads);

// A tree of the places of a surface.
class SurfaceTree {
 public:
  SurfaceTree(const Surface& surface, const Spacing& spacing);

  // out[i]: mm from place i of `from` to the nearest place here; infinite where this surface is empty. Places are taken
  // in the order of the other tree, so that one's nearest place is a good first guess of the next one's.
  void distances(const SurfaceTree& from, double* out, unsigned threads) const;

 private:
  struct Search;
  void divide_places(std::size_t node, std::int64_t first, std::int64_t last);
  void visit(Search& search, std::size_t node, std::int64_t first, std::int64_t last, double lower) const;
  double squared(std::int64_t here, const SurfaceTree& from, std::int64_t there) const;

  static constexpr std::int64_t kLeaf = 8;
  Spacing spacing_;
  std::vector<std::int32_t> order_;                 // of the surface's places, in the order of the leaves
  std::array<std::vector<std::int32_t>, 3> cells_;  // in that order
  std::array<std::vector<double>, 3> places_;       // the same, mm
  std::vector<double> split_;                       // of each node, mm
  std::vector<std::uint8_t> axis_;
};

}  // namespace sslmed::metrics
