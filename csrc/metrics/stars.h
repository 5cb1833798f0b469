#pragma once
// Star-convex shapes in pictures: a center and the distances to the edge along rays (StarDist, Schmidt et al., arXiv 1806.03535).
// Ray k of K points by the angle 2πk / K from the columns' direction to the rows': row + sin, column + cos.

#include <cstdint>
#include <vector>

#include "metrics/suppression.h"

namespace sslmed::metrics {

// labels [rows, columns], one positive number an object. out [rows / stride, columns / stride, rays]: steps of one cell
// from the middle of the cell (stride · i + stride / 2, …) until the label changes, minus what the last step goes too
// far; 0 outside of objects.
void star_distances(const std::int32_t* labels, std::int64_t rows, std::int64_t columns, std::int64_t stride, std::int64_t rays, float* out);

// out [rows, columns]: the distance to the nearest cell of another label, divided by the largest one of the object; 0
// outside of objects. The picture's edge is no edge of an object, unless one object fills the picture.
void object_probability(const std::int32_t* labels, std::int64_t rows, std::int64_t columns, float* out);

// n shapes: centers [n, 2] (row, column) and distances [n, rays].
struct Stars {
  std::vector<double> centers, distances;
  std::size_t rays = 0;

  std::size_t size() const { return centers.size() / 2; }
  double area(std::size_t i) const;
  // [rays, 2] row and column of each corner.
  std::vector<double> corners(std::size_t i) const;
};

// The area that two shapes share: the sum over the triangles that each consists of. Stops once it is above `enough`.
double shared_area(const Stars& stars, std::size_t i, std::size_t j, double enough);

enum class StarOverlap {
  kSmaller,  // shared area by the smaller of both, as in StarDist
  kUnion,    // shared area by the area of both together
};
// Drops shapes whose overlap with a kept one is above `threshold`.
std::vector<std::int64_t> suppress_stars(const Candidates& candidates, const Stars& stars, double threshold, StarOverlap overlap);

// Writes i + 1 where the middle of a cell lies in shape i, one after the other: later ones lie on top. Other cells stay.
void draw_stars(const Stars& stars, std::int64_t rows, std::int64_t columns, std::int32_t* out);

}  // namespace sslmed::metrics
