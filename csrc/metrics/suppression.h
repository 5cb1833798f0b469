#pragma once
// Non-maximum suppression of boxes, points and star-convex polygons, of any number: a grid of cells finds what is near.

#include <cstdint>
#include <functional>
#include <vector>

namespace sslmed::metrics {

// What is suppressed: `scores` [n], and `classes` [n] or empty. With classes only objects of one class suppress each other.
struct Candidates {
  std::vector<double> scores;
  std::vector<std::int32_t> classes;
};

// Takes objects from the best score on (of equal ones the first) and drops those that overlap one that was taken.
// bounds [n, 2, rank]: lowest and highest corner of each; `overlaps(i, j)` is asked where those of both meet. Returns
// the kept ones, best first.
std::vector<std::int64_t> suppress(const Candidates& candidates, const std::vector<double>& bounds, std::size_t rank,
                                   const std::function<bool(std::int64_t, std::int64_t)>& overlaps);

// edges [n, 2, rank]. Drops boxes whose intersection over union with a kept one is above `iou`.
std::vector<std::int64_t> suppress_boxes(const Candidates& candidates, const std::vector<double>& edges, std::size_t rank, double iou);

// places [n, rank]. Drops points that are nearer than `distance` to a kept one.
std::vector<std::int64_t> suppress_points(const Candidates& candidates, const std::vector<double>& places, std::size_t rank, double distance);

}  // namespace sslmed::metrics
