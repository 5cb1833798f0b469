// Metrics of label maps, masks, points and detections. Maps are [H, W] or [D, H, W]; spacing always has three numbers.

#include <ATen/Functions.h>

#include <array>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "core/error.h"
#include "metrics/assignment.h"
#include "metrics/components.h"
#include "metrics/distance_transform.h"
#include "metrics/nearest.h"
#include "metrics/overlaps.h"
#include "metrics/region_overlap.h"
#include "metrics/surface.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::metrics;

// A tensor, and the map that it holds in memory.
struct HeldMap {
  at::Tensor tensor;
  LabelMap map;
};

HeldMap map_of(const at::Tensor& given, const char* name) {
  const auto refuse = [&](const std::string& expected) {
    std::ostringstream found;
    found << name << ": expected " << expected << ", found " << given.sizes() << " in " << given.scalar_type() << " on " << given.device();
    throw ValueError(found.str());
  };
  const auto type = given.scalar_type();
  if (!at::isIntegralType(type, /*includeBool=*/true) || type == at::kUInt32 || type == at::kUInt64)
    refuse("a mask or a label map of whole numbers (bool, uint8, uint16, int8 to int64)");
  if ((given.dim() != 2 && given.dim() != 3) || given.numel() == 0 || !given.device().is_cpu()) refuse("[H, W] or [D, H, W] with cells, on the CPU");
  for (const auto n : given.sizes())
    if (n > (1 << 30)) refuse("at most 2^30 cells along an axis");
  HeldMap held;
  if (type == at::kBool || type == at::kByte) {
    held.tensor = given.contiguous();
    held.map.narrow = static_cast<const std::uint8_t*>(held.tensor.const_data_ptr());
  } else {
    if (type == at::kLong) {
      const auto [low, high] = at::aminmax(given);
      constexpr std::int64_t kLow = std::numeric_limits<std::int32_t>::min(), kHigh = std::numeric_limits<std::int32_t>::max();
      if (low.item<std::int64_t>() < kLow || high.item<std::int64_t>() > kHigh) refuse("labels that fit int32");
    }
    held.tensor = given.to(at::kInt).contiguous();
    held.map.wide = held.tensor.const_data_ptr<std::int32_t>();
  }
  held.map.rank = static_cast<int>(given.dim());
  const bool flat = given.dim() == 2;
  held.map.shape = {flat ? 1 : given.size(0), given.size(flat ? 0 : 1), given.size(flat ? 1 : 2)};
  return held;
}

std::pair<HeldMap, HeldMap> maps_of(const at::Tensor& prediction, const at::Tensor& reference) {
  auto p = map_of(prediction, "prediction"), r = map_of(reference, "reference");
  if (prediction.sizes() != reference.sizes()) {
    std::ostringstream text;
    text << "prediction and reference must have one shape, got " << prediction.sizes() << " and " << reference.sizes();
    throw ValueError(text.str());
  }
  return {std::move(p), std::move(r)};
}

at::Tensor doubles(const std::vector<double>& values) {
  auto out = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), out.data_ptr<double>());
  return out;
}

at::Tensor whole(const std::vector<std::int32_t>& values) {
  auto out = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.data_ptr<std::int64_t>());
  return out;
}

// Rows of [label, cells, sums of the indices].
at::Tensor areas_of(const std::vector<LabelArea>& areas) {
  auto out = at::empty({static_cast<std::int64_t>(areas.size()), 5}, at::kDouble);
  auto* to = out.data_ptr<double>();
  for (const auto& area : areas) {
    *to++ = area.label;
    *to++ = static_cast<double>(area.cells);
    for (const double sum : area.sum) *to++ = sum;
  }
  return out;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> overlaps_between(const at::Tensor& prediction, const at::Tensor& reference) {
  const auto [p, r] = maps_of(prediction, reference);
  const auto found = overlaps_of(p.map, r.map);
  auto pairs = at::empty({static_cast<std::int64_t>(found.pairs.size()), 3}, at::kLong);
  auto* to = pairs.data_ptr<std::int64_t>();
  for (const auto& pair : found.pairs) {
    *to++ = pair.prediction;
    *to++ = pair.reference;
    *to++ = pair.cells;
  }
  return {areas_of(found.prediction), areas_of(found.reference), pairs};
}

using Distances = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Distances distances_between(const at::Tensor& prediction, const at::Tensor& reference, const Which& label, bool corners, const Spacing& spacing,
                            unsigned threads) {
  const auto [p, r] = maps_of(prediction, reference);
  const auto kind = corners ? SurfaceKind::kCorners : SurfaceKind::kCells;
  const auto first = surface_of(crop(p.map, label), kind, spacing), second = surface_of(crop(r.map, label), kind, spacing);
  auto there = at::empty({static_cast<std::int64_t>(first.size())}, at::kDouble);
  auto back = at::empty({static_cast<std::int64_t>(second.size())}, at::kDouble);
  nearest_distances(first, second, spacing, there.data_ptr<double>(), threads);
  nearest_distances(second, first, spacing, back.data_ptr<double>(), threads);
  return {there, doubles(first.area), back, doubles(second.area)};
}

at::Tensor transform_of(const at::Tensor& mask, const Spacing& spacing, unsigned threads) {
  const auto held = map_of(mask, "mask");
  auto out = at::empty(mask.sizes(), at::kDouble);
  distance_transform(held.map, spacing, out.data_ptr<double>(), threads);
  return out;
}

at::Tensor components_of(const at::Tensor& mask, int connectivity) {
  const auto held = map_of(mask, "mask");
  auto out = at::empty(mask.sizes(), at::kInt);
  connected_components(held.map, connectivity, out.data_ptr<std::int32_t>());
  return out;
}

// Rows of [row, column, weight].
at::Tensor best_pairs_of(const at::Tensor& edges, std::int32_t rows, std::int32_t columns) {
  if (edges.dim() != 2 || edges.size(1) != 3 || edges.scalar_type() != at::kDouble) throw ValueError("edges: expected [E, 3] in float64");
  const auto held = edges.contiguous();
  const auto* from = held.const_data_ptr<double>();
  std::vector<Edge> list;
  for (std::int64_t i = 0; i < held.size(0); ++i, from += 3) {
    const Edge edge{static_cast<std::int32_t>(from[0]), static_cast<std::int32_t>(from[1]), from[2]};
    if (edge.row < 0 || edge.row >= rows || edge.column < 0 || edge.column >= columns || !(edge.weight > 0))
      throw ValueError("edges: expected rows, columns and weights above 0");
    list.push_back(edge);
  }
  return whole(best_pairs(list, rows, columns));
}

std::vector<Point> points_of(const at::Tensor& given) {
  if (given.dim() != 2 || given.size(1) != 3 || given.scalar_type() != at::kDouble) throw ValueError("points: expected [N, 3] in float64");
  const auto held = given.contiguous();
  const auto* from = held.const_data_ptr<double>();
  std::vector<Point> points(static_cast<std::size_t>(held.size(0)));
  for (auto& point : points)
    for (auto& place : point) place = *from++;
  return points;
}

template <class T>
std::vector<T> list_of(const at::Tensor& given, at::ScalarType type) {
  const auto held = given.to(type).contiguous();
  const auto* from = held.const_data_ptr<T>();
  return {from, from + held.numel()};
}

at::Tensor matches_of(const at::Tensor& first, const at::Tensor& object, const at::Tensor& overlap, const at::Tensor& ignored, const at::Tensor& crowd,
                      const std::vector<double>& thresholds) {
  const DetectionTask task{list_of<std::int32_t>(first, at::kInt), list_of<std::int32_t>(object, at::kInt), list_of<double>(overlap, at::kDouble),
                           list_of<std::uint8_t>(ignored, at::kByte), list_of<std::uint8_t>(crowd, at::kByte)};
  bool good = !task.first.empty() && task.first.front() == 0 && static_cast<std::size_t>(task.first.back()) == task.object.size() &&
              task.object.size() == task.overlap.size() && task.ignored.size() == task.crowd.size();
  for (std::size_t i = 1; good && i < task.first.size(); ++i) good = task.first[i] >= task.first[i - 1];
  for (const auto i : task.object) good = good && i >= 0 && static_cast<std::size_t>(i) < task.ignored.size();
  if (!good) throw ValueError("match: candidates do not fit the detections and objects");
  const auto detections = static_cast<std::int64_t>(task.first.size()) - 1;
  return whole(match_detections(task, thresholds)).view({static_cast<std::int64_t>(thresholds.size()), detections});
}

std::tuple<at::Tensor, at::Tensor> curve_of(const at::Tensor& scores, const at::Tensor& regions, double limit) {
  const auto values = scores.to(at::kDouble).contiguous();
  const auto names = regions.to(at::kInt).contiguous();
  if (values.numel() != names.numel() || (names.numel() > 0 && names.min().item<std::int32_t>() < 0))
    throw ValueError("regions: expected numbers from 0 on, one a score");
  const auto curve = region_curve(values.const_data_ptr<double>(), names.const_data_ptr<std::int32_t>(), values.numel(), limit);
  return {doubles(curve.fpr), doubles(curve.tpr)};
}

}  // namespace

void bind_metrics(py::module_& m) {
  using Free = py::call_guard<py::gil_scoped_release>;
  m.def(
      "mask_counts",
      [](const at::Tensor& prediction, const at::Tensor& reference, const Which& label) {
        const auto [p, r] = maps_of(prediction, reference);
        return mask_counts(p.map, r.map, label);
      },
      py::arg("prediction"), py::arg("reference"), py::arg("label"), Free(), "Cells of the object in the prediction, the reference, and both.");
  m.def("label_overlaps", &overlaps_between, py::arg("prediction"), py::arg("reference"), Free(),
        "(labels of the prediction, of the reference: rows of [label, cells, sums of indices], pairs: rows of [position, position, cells]).");
  m.def("surface_distances", &distances_between, py::arg("prediction"), py::arg("reference"), py::arg("label"), py::arg("corners"), py::arg("spacing"),
        py::arg("threads"), Free(), "(distances from the prediction's surface, its areas, distances from the reference's, its areas).");
  m.def(
      "surface_areas", [](const Spacing& spacing, int rank) { return doubles(surface_areas(spacing, rank)); }, py::arg("spacing"), py::arg("rank"), Free(),
      "Area of the surface in a neighborhood of cells, by its code.");
  m.def(
      "euler_characteristic",
      [](const at::Tensor& mask, const Which& label, bool full) { return euler_characteristic(crop(map_of(mask, "mask").map, label), full); }, py::arg("mask"),
      py::arg("label"), py::arg("full"), Free(), "Components - tunnels + cavities.");
  m.def("distance_transform", &transform_of, py::arg("mask"), py::arg("spacing"), py::arg("threads"), Free(), "Distances to the nearest cell that is 0.");
  m.def("connected_components", &components_of, py::arg("mask"), py::arg("connectivity"), Free(), "Numbers of components, int32.");
  m.def("best_pairs", &best_pairs_of, py::arg("edges"), py::arg("rows"), py::arg("columns"), Free(), "The column of each row, or -1.");
  m.def(
      "near_pairs",
      [](const at::Tensor& rows, const at::Tensor& columns, double radius) { return whole(near_pairs(points_of(rows), points_of(columns), radius)); },
      py::arg("rows"), py::arg("columns"), py::arg("radius"), Free(), "The column of each row within the radius, or -1.");
  m.def("match_detections", &matches_of, py::arg("first"), py::arg("object"), py::arg("overlap"), py::arg("ignored"), py::arg("crowd"), py::arg("thresholds"),
        Free(), "The object of each detection, or -1: [thresholds, detections].");
  m.def("region_curve", &curve_of, py::arg("scores"), py::arg("regions"), py::arg("limit"), Free(), "(fpr, tpr), means over the regions.");
}

}  // namespace sslmed::bindings
