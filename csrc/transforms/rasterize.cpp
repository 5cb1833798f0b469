#include "transforms/rasterize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"

namespace sslmed::transforms {
namespace {

struct CellRange {
  std::int64_t begin, end;
  bool empty() const { return begin >= end; }
};

// Cells whose middles are within [low, high) of a picture's axis.
CellRange cells_between(double low, double high, double corner, double cell, std::int64_t count) {
  const auto at = [&](double place) {
    const double found = std::ceil((place - corner) / cell - 0.5);
    return static_cast<std::int64_t>(std::clamp(found, 0.0, static_cast<double>(count)));
  };
  return {at(low), at(high)};
}

// Turns the cells right of an edge in `flips` [rows, columns + 1]; the sum over a row says what is inside.
void flip_right_of(const float* a, const float* b, const RasterGrid& grid, CellRange rows, CellRange columns, std::uint8_t* flips) {
  const double y0 = (a[1] - grid.y) / grid.cell[1], y1 = (b[1] - grid.y) / grid.cell[1];
  if (y0 == y1) return;
  const double x0 = (a[0] - grid.x) / grid.cell[0], x1 = (b[0] - grid.x) / grid.cell[0];
  const auto first = static_cast<double>(rows.begin), last = static_cast<double>(rows.end);
  const auto from = static_cast<std::int64_t>(std::clamp(std::ceil(std::min(y0, y1) - 0.5), first, last));
  const auto to = static_cast<std::int64_t>(std::clamp(std::ceil(std::max(y0, y1) - 0.5), first, last));
  const auto low = static_cast<double>(columns.begin), high = static_cast<double>(columns.end);
  const auto stride = columns.end - columns.begin + 1;
  for (auto row = from; row < to; ++row) {
    const double x = x0 + (static_cast<double>(row) + 0.5 - y0) / (y1 - y0) * (x1 - x0);
    const auto column = static_cast<std::int64_t>(std::clamp(std::ceil(x - 0.5), low, high));
    flips[(row - rows.begin) * stride + column - columns.begin] ^= 1;
  }
}

// Calls mark(row, column) for each cell of the grid within polygon `i`.
template <class F>
void for_inside(const Polygons& polygons, std::size_t i, const RasterGrid& grid, F&& mark) {
  const float* box = polygons.boxes.data() + 4 * i;
  const auto columns = cells_between(box[0], box[2], grid.x, grid.cell[0], grid.width);
  const auto rows = cells_between(box[1], box[3], grid.y, grid.cell[1], grid.height);
  if (columns.empty() || rows.empty()) return;
  const auto stride = columns.end - columns.begin + 1;
  thread_local std::vector<std::uint8_t> flips;
  flips.assign(static_cast<std::size_t>((rows.end - rows.begin) * stride), 0);
  for (auto ring = polygons.first_ring[i]; ring < polygons.first_ring[i + 1]; ++ring) {
    const auto r = static_cast<std::size_t>(ring);
    for (auto p = polygons.first_point[r]; p + 1 < polygons.first_point[r + 1]; ++p)
      flip_right_of(polygons.points.data() + 2 * p, polygons.points.data() + 2 * p + 2, grid, rows, columns, flips.data());
  }
  const auto* at = flips.data();
  for (auto row = rows.begin; row < rows.end; ++row, at += stride) {
    std::uint8_t inside = 0;
    for (auto column = columns.begin; column < columns.end; ++column) {
      inside ^= at[column - columns.begin];
      if (inside) mark(row, column);
    }
  }
}

void check_offsets(const std::vector<std::int64_t>& first, std::int64_t count, const char* name) {
  bool sound = !first.empty() && first.front() == 0 && first.back() == count;
  for (std::size_t i = 1; i < first.size(); ++i) sound = sound && first[i] > first[i - 1];
  if (!sound) throw ValueError(std::string("Polygons: ") + name + " must ascend from 0 to " + std::to_string(count) + ", one for each and one more");
}

}  // namespace

void Polygons::check() {
  const auto n = values.size();
  if (negative.size() != n || first_ring.size() != n + 1)
    throw ValueError("Polygons: values, negative and first_ring must be of one number of polygons, got " + std::to_string(n) + ", " +
                     std::to_string(negative.size()) + " and " + std::to_string(first_ring.size()));
  check_offsets(first_ring, static_cast<std::int64_t>(first_point.size()) - 1, "first_ring");
  check_offsets(first_point, static_cast<std::int64_t>(points.size() / 2), "first_point");
  if (!std::is_sorted(values.begin(), values.end())) throw ValueError("Polygons: values must ascend: later ones cover earlier ones");
  for (std::size_t r = 0; r + 1 < first_point.size(); ++r) {
    const auto *a = points.data() + 2 * first_point[r], *b = points.data() + 2 * (first_point[r + 1] - 1);
    if (first_point[r + 1] - first_point[r] < 4 || a[0] != b[0] || a[1] != b[1])
      throw ValueError("Polygons: ring " + std::to_string(r) + " must be closed and have at least four points");
  }
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  boxes.clear();
  for (std::size_t i = 0; i < n; ++i) {
    std::array<float, 4> box{kInfinite, kInfinite, -kInfinite, -kInfinite};
    const auto begin = first_point[static_cast<std::size_t>(first_ring[i])], end = first_point[static_cast<std::size_t>(first_ring[i + 1])];
    for (auto p = begin; p < end; ++p) {
      for (std::size_t axis = 0; axis < 2; ++axis) {
        const auto value = points[static_cast<std::size_t>(2 * p) + axis];
        if (!std::isfinite(value)) throw ValueError("Polygons: points must be finite, polygon " + std::to_string(i) + " has others");
        box[axis] = std::min(box[axis], value);
        box[axis + 2] = std::max(box[axis + 2], value);
      }
    }
    boxes.insert(boxes.end(), box.begin(), box.end());
  }
}

void rasterize(const Polygons& polygons, const RasterGrid& grid, std::int32_t* into) {
  if (!(grid.cell[0] > 0 && grid.cell[1] > 0))
    throw ValueError("rasterize: cell must be above 0, got " + std::to_string(grid.cell[0]) + " and " + std::to_string(grid.cell[1]));
  const auto label = [&](std::int32_t value) { return [&, value](std::int64_t row, std::int64_t column) { into[row * grid.width + column] = value; }; };
  for (std::size_t i = 0; i < polygons.size();) {
    const auto value = polygons.values[i];
    auto end = i;
    bool cut = false;
    for (; end < polygons.size() && polygons.values[end] == value; ++end) cut = cut || polygons.negative[end] != 0;
    if (!cut) {
      for (; i < end; ++i) for_inside(polygons, i, grid, label(value));
      continue;
    }
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(grid.width * grid.height), 0);
    for (const bool negative : {false, true})
      for (auto k = i; k < end; ++k)
        if ((polygons.negative[k] != 0) == negative)
          for_inside(polygons, k, grid,
                     [&](std::int64_t row, std::int64_t column) { mask[static_cast<std::size_t>(row * grid.width + column)] = negative ? 0 : 1; });
    for (std::size_t cell = 0; cell < mask.size(); ++cell)
      if (mask[cell]) into[cell] = value;
    i = end;
  }
}

}  // namespace sslmed::transforms
