#pragma once
// Polygons that people drew on a large picture, as label maps of any part of it at any scale.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed::transforms {

// Polygons of one picture, in its pixels. Polygon i has the rings [first_ring[i], first_ring[i + 1]), ring r the points [first_point[r], first_point[r + 1]),
// closed. A place is inside a polygon where it is inside an odd number of its rings.
struct Polygons {
  std::vector<float> points;  // [n, 2] x and y
  std::vector<std::int64_t> first_point{0}, first_ring{0};
  std::vector<std::int32_t> values;    // of each polygon, what its cells are labeled with
  std::vector<std::uint8_t> negative;  // of each polygon: taken out of the others of its value
  std::vector<float> boxes;            // [n, 4] lowest x and y, highest x and y; check() computes them

  std::size_t size() const { return values.size(); }
  // ValueError where lengths do not fit, a ring has fewer than four points or is not closed, a point is not finite, or values do not ascend. Fills `boxes`.
  void check();
};

// A part of the picture: cell (column, row) is `cell` = {x, y} pixels large, and the first one's corner is at (x, y).
struct RasterGrid {
  double x = 0, y = 0;
  std::array<double, 2> cell{1, 1};
  std::int64_t width = 0, height = 0;
};

// Labels the cells of [height, width] whose middles are inside of polygons; later values cover earlier ones, other cells stay.
void rasterize(const Polygons& polygons, const RasterGrid& grid, std::int32_t* into);

}  // namespace sslmed::transforms
