#include "data/targets.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"

namespace sslmed::data {
namespace {

using transforms::Geometry;

LabelMap moved(const LabelMap& map, const Geometry& geometry, const std::string& name) {
  if (map.shape != geometry.from) throw ValueError("target " + quote(name) + ": a label map must have the cells of the sample's array");
  std::int64_t cells = 1;
  for (const auto extent : geometry.to) cells *= extent;
  LabelMap out{geometry.to, std::vector<std::int32_t>(static_cast<std::size_t>(cells))};
  transforms::resample(geometry, map.classes.data(), 1, transforms::Interpolation::kNearest, kUnlabeled, out.classes.data());
  return out;
}

void check_rank(std::int64_t rank, const Geometry& geometry, const std::string& name) {
  if (rank != static_cast<std::int64_t>(geometry.rank()))
    throw ValueError("target " + quote(name) + ": has places of rank " + std::to_string(rank) + ", expected the sample's " + std::to_string(geometry.rank()));
}

// Of a place in the source, where it lies in the result.
std::vector<double> moved(const Geometry& inverse, const float* place) {
  std::vector<double> source(inverse.rank()), out(inverse.rank());
  std::copy_n(place, inverse.rank(), source.begin());
  inverse.source_of(source.data(), out.data());
  return out;
}

Points moved(const Points& points, const Geometry& geometry, const std::string& name) {
  check_rank(points.rank, geometry, name);
  const auto inverse = geometry.inverse();
  Points out{points.rank, {}, {}};
  for (std::size_t i = 0; i < points.classes.size(); ++i) {
    const auto place = moved(inverse, points.places.data() + i * geometry.rank());
    bool inside = true;
    for (std::size_t axis = 0; axis < place.size(); ++axis) inside = inside && place[axis] >= 0 && place[axis] <= static_cast<double>(geometry.to[axis]);
    if (!inside) continue;
    out.places.insert(out.places.end(), place.begin(), place.end());
    out.classes.push_back(points.classes[i]);
  }
  return out;
}

Boxes moved(const Boxes& boxes, const Geometry& geometry, const std::string& name) {
  check_rank(boxes.rank, geometry, name);
  const auto inverse = geometry.inverse();
  const auto n = geometry.rank();
  Boxes out{boxes.rank, {}, {}};
  for (std::size_t i = 0; i < boxes.classes.size(); ++i) {
    const float* edges = boxes.edges.data() + 2 * n * i;
    std::vector<double> low(n, std::numeric_limits<double>::infinity()), high(n, -std::numeric_limits<double>::infinity());
    // The box around all corners: turned boxes are not boxes.
    for (std::size_t corner = 0; corner < (std::size_t{1} << n); ++corner) {
      std::vector<float> place(n);
      for (std::size_t axis = 0; axis < n; ++axis) place[axis] = edges[(corner >> axis & 1) * n + axis];
      const auto there = moved(inverse, place.data());
      for (std::size_t axis = 0; axis < n; ++axis) {
        low[axis] = std::min(low[axis], there[axis]);
        high[axis] = std::max(high[axis], there[axis]);
      }
    }
    bool inside = true;
    for (std::size_t axis = 0; axis < n; ++axis) {
      low[axis] = std::max(low[axis], 0.0);
      high[axis] = std::min(high[axis], static_cast<double>(geometry.to[axis]));
      inside = inside && low[axis] < high[axis];
    }
    if (!inside) continue;
    out.edges.insert(out.edges.end(), low.begin(), low.end());
    out.edges.insert(out.edges.end(), high.begin(), high.end());
    out.classes.push_back(boxes.classes[i]);
  }
  return out;
}

}  // namespace

Targets moved(const Targets& targets, const Geometry& geometry) {
  Targets out;
  for (const auto& [name, target] : targets) {
    std::visit(
        [&, &name = name](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>) {
            out[name] = value;
          } else {
            out[name] = moved(value, geometry, name);
          }
        },
        target);
  }
  return out;
}

}  // namespace sslmed::data
