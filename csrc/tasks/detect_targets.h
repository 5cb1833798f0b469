#pragma once
// What the maps of a detector should be, from the objects of a view.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sslmed::tasks {

// An instance label map's value: the object's number from 1 on, and its class in the higher bits. 0 is the background.
constexpr std::int32_t kInstances = 1 << 16;

struct CenterOptions {
  std::int64_t classes = 1;
  std::int64_t stride = 1;   // cells of the view to a cell of the map, along every axis
  double radius = 3;         // points: of the Gaussian, in cells of the view
  double min_overlap = 0.7;  // boxes: the Gaussian reaches as far as a box of the same size may be moved, or all of its sides may, with this overlap left
};

struct CenterTargets {
  at::Tensor heat;     // [classes, cells…] 1 in the cell of each object's center, around it a Gaussian; the largest one of all objects
  at::Tensor cells;    // [n] int64: the center's cell, row-major
  at::Tensor offsets;  // [n, rank] of the center from the corner of its cell, in cells of the map
  at::Tensor sizes;    // [n, rank] of boxes, in cells of the view; undefined for points
};

// objects [n, rank + 1] points or [n, 2 · rank + 1] boxes, the class last; `cells` of the map along each axis. ValueError for a class that is none.
CenterTargets center_targets(const at::Tensor& objects, const std::vector<std::int64_t>& cells, const CenterOptions& options);

// How far all corners of a box with these sides may move so that the overlap (IoU) with the box before is at least `min_overlap`: the least of a shift, of
// growing and of shrinking on all sides. CornerNet's (arXiv 1808.01244), for any rank.
double gaussian_radius(const std::vector<double>& sides, double min_overlap);

struct StarTargets {
  at::Tensor probability;  // [rows, columns] float32, metrics::object_probability
  at::Tensor distances;    // [rays, rows, columns] float32 in cells of the view
  at::Tensor classes;      // [rows, columns] int64: 0 background, class + 1; -1 where nothing is known
};

// map [rows, columns] int32 of kInstances · class + number, 0, or data::kUnlabeled.
StarTargets star_targets(const at::Tensor& map, std::int64_t stride, std::int64_t rays);

}  // namespace sslmed::tasks
