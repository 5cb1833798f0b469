#include "tasks/detect_targets.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "data/targets.h"
#include "metrics/stars.h"

namespace sslmed::tasks {
namespace {

// Raises the cells around `center` of one class's map to a Gaussian, within `reach` cells along each axis.
void draw_gaussian(float* heat, const std::vector<std::int64_t>& cells, const std::vector<std::int64_t>& center, std::int64_t reach) {
  const auto rank = cells.size();
  const auto sigma = static_cast<double>(2 * reach + 1) / 6;
  std::vector<std::int64_t> at(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) at[axis] = std::max<std::int64_t>(center[axis] - reach, 0);
  while (true) {
    double squares = 0;
    std::int64_t index = 0;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const auto d = static_cast<double>(at[axis] - center[axis]);
      squares += d * d;
      index = index * cells[axis] + at[axis];
    }
    heat[index] = std::max(heat[index], static_cast<float>(std::exp(-squares / (2 * sigma * sigma))));
    auto axis = rank;
    while (axis-- > 0) {
      if (++at[axis] <= std::min(center[axis] + reach, cells[axis] - 1)) break;
      at[axis] = std::max<std::int64_t>(center[axis] - reach, 0);
      if (axis == 0) return;
    }
  }
}

}  // namespace

double gaussian_radius(const std::vector<double>& sides, double min_overlap) {
  const auto product = [&](double change) {
    double out = 1;
    for (const auto side : sides) out *= std::max(side + change, 0.0);
    return out;
  };
  const auto own = product(0);
  const auto enough = [&](double r) {
    const auto shared = product(-r);  // both corners moved the same way
    return shared / (2 * own - shared) >= min_overlap && product(-2 * r) / own >= min_overlap && own / product(2 * r) >= min_overlap;
  };
  double low = 0, high = *std::min_element(sides.begin(), sides.end());
  for (int i = 0; i < 60; ++i) (enough((low + high) / 2) ? low : high) = (low + high) / 2;
  return low;
}

CenterTargets center_targets(const at::Tensor& given, const std::vector<std::int64_t>& cells, const CenterOptions& options) {
  const auto rank = static_cast<std::int64_t>(cells.size());
  const bool boxes = given.dim() == 2 && given.size(1) == 2 * rank + 1;
  TORCH_CHECK_VALUE(given.dim() == 2 && (boxes || given.size(1) == rank + 1), "detect: the target must be points [n, ", rank + 1, "] or boxes [n, ",
                    2 * rank + 1, "] with the class last, got ", given.sizes());
  const auto objects = given.to(at::kCPU, at::kFloat).contiguous();
  const auto n = objects.size(0);
  CenterTargets out;
  std::vector<std::int64_t> shape{options.classes};
  shape.insert(shape.end(), cells.begin(), cells.end());
  out.heat = at::zeros(shape, at::kFloat);
  out.cells = at::empty({n}, at::kLong);
  out.offsets = at::empty({n, rank}, at::kFloat);
  if (boxes) out.sizes = at::empty({n, rank}, at::kFloat);
  const auto plane = out.heat.numel() / options.classes;
  std::vector<std::int64_t> center(cells.size());
  std::vector<double> sides(cells.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const auto* row = objects.const_data_ptr<float>() + i * objects.size(1);
    const auto own = static_cast<std::int64_t>(row[objects.size(1) - 1]);
    TORCH_CHECK_VALUE(own >= 0 && own < options.classes, "detect: the target holds class ", own, ", expected one of ", options.classes, " classes from 0 on");
    std::int64_t index = 0;
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      const auto a = static_cast<std::size_t>(axis);
      const auto place = (boxes ? (row[axis] + row[rank + axis]) / 2 : row[axis]) / static_cast<float>(options.stride);
      center[a] = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(place)), 0, cells[a] - 1);
      out.offsets.mutable_data_ptr<float>()[i * rank + axis] = place - static_cast<float>(center[a]);
      index = index * cells[a] + center[a];
      if (!boxes) continue;
      sides[a] = row[rank + axis] - row[axis];
      out.sizes.mutable_data_ptr<float>()[i * rank + axis] = static_cast<float>(sides[a]);
    }
    out.cells.mutable_data_ptr<std::int64_t>()[i] = index;
    const auto reach = (boxes ? gaussian_radius(sides, options.min_overlap) : options.radius) / static_cast<double>(options.stride);
    draw_gaussian(out.heat.mutable_data_ptr<float>() + own * plane, cells, center, static_cast<std::int64_t>(reach));
  }
  return out;
}

StarTargets star_targets(const at::Tensor& given, std::int64_t stride, std::int64_t rays) {
  TORCH_CHECK_VALUE(given.dim() == 2 && given.scalar_type() == at::kInt, "detect: the target must be a label map [rows, columns] of int32, got ",
                    given.scalar_type(), " ", given.sizes());
  const auto map = given.to(at::kCPU).contiguous();
  const auto rows = map.size(0), columns = map.size(1);
  auto distances = at::empty({rows / stride, columns / stride, rays}, at::kFloat), probability = at::empty({rows, columns}, at::kFloat);
  metrics::star_distances(map.const_data_ptr<std::int32_t>(), rows, columns, stride, rays, distances.mutable_data_ptr<float>());
  metrics::object_probability(map.const_data_ptr<std::int32_t>(), rows, columns, probability.mutable_data_ptr<float>());
  const auto at_cells = [&](const at::Tensor& x) {
    return x.slice(0, stride / 2, std::nullopt, stride).slice(1, stride / 2, std::nullopt, stride).slice(0, 0, rows / stride).slice(1, 0, columns / stride);
  };
  const auto values = at_cells(map).to(at::kLong);
  StarTargets out;
  out.probability = at_cells(probability).contiguous();
  out.distances = distances.permute({2, 0, 1}).contiguous();
  out.classes = at::where(values.gt(0), values.div(kInstances, "floor") + 1, values.clamp_min(data::kUnlabeled));
  return out;
}

}  // namespace sslmed::tasks
