#pragma once
// Polygons of a picture, from tensors to ours.

#include <tuple>

#include "bindings/columns.h"
#include "transforms/rasterize.h"

namespace sslmed::bindings {

// What Python hands over as (points [n, 2], first point of each ring and their number, first ring of each polygon and their number, values, negative).
using PolygonColumns = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

inline transforms::Polygons polygons_of(const PolygonColumns& columns) {
  const auto& [points, first_point, first_ring, values, negative] = columns;
  TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) == 2, "polygons: points must be [n, 2], got ", points.sizes());
  transforms::Polygons out;
  out.points = numbers<float>(points.reshape({-1}));
  out.first_point = numbers<std::int64_t>(first_point);
  out.first_ring = numbers<std::int64_t>(first_ring);
  out.values = numbers<std::int32_t>(values);
  out.negative = numbers<std::uint8_t>(negative);
  return out;
}

}  // namespace sslmed::bindings
