#include "tasks/detect_objects.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "nn/functional.h"

namespace sslmed::tasks {
namespace {

constexpr double kEnd = std::numeric_limits<double>::infinity();

std::int64_t shape_numbers(const ObjectOptions& options, std::int64_t rank) {
  return options.kind == Detected::kPoints ? 0 : options.kind == Detected::kBoxes ? rank : options.rays;
}

void append_row(Objects& to, const Objects& from, std::size_t i) {
  const auto rank = static_cast<std::size_t>(from.rank), numbers = static_cast<std::size_t>(from.numbers);
  to.places.insert(to.places.end(), from.places.begin() + static_cast<std::ptrdiff_t>(rank * i),
                   from.places.begin() + static_cast<std::ptrdiff_t>(rank * (i + 1)));
  to.shapes.insert(to.shapes.end(), from.shapes.begin() + static_cast<std::ptrdiff_t>(numbers * i),
                   from.shapes.begin() + static_cast<std::ptrdiff_t>(numbers * (i + 1)));
  to.scores.push_back(from.scores[i]);
  to.classes.push_back(from.classes[i]);
}

// [n, 1 + rank] int64: class and cell of each peak of heat [classes, cells…].
at::Tensor peaks_of(const at::Tensor& heat, double threshold) {
  const auto highest = nn::max_pool(heat.unsqueeze(0), 3, 1, 1, nn::Rows::single(1, {}))[0];
  return heat.eq(highest).logical_and(heat.gt(threshold)).nonzero();
}

// Windows along one axis, and where their cores lie.
struct AxisWindows {
  std::int64_t size = 0, roi = 0;  // cells of the image, and of a window
  std::vector<std::int64_t> starts;
  std::vector<double> edges;  // [windows + 1]
};

AxisWindows axis_windows(std::int64_t size, std::int64_t asked, double overlap) {
  AxisWindows out;
  out.size = size;
  out.roi = asked > 0 ? asked : size;
  out.starts = nn::window_starts(std::max(size, out.roi), out.roi, overlap, nn::WindowConvention::kMonai);
  out.edges.push_back(-kEnd);
  for (std::size_t i = 1; i < out.starts.size(); ++i) out.edges.push_back(static_cast<double>(out.starts[i - 1] + out.roi + out.starts[i]) / 2);
  out.edges.push_back(kEnd);
  return out;
}

// The windows along each axis; an image smaller than one is padded at its end.
std::vector<AxisWindows> laid_out(at::Tensor& image, const DetectWindows& windows) {
  const auto rank = image.dim() - 1;
  std::vector<AxisWindows> axes;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    const auto each = [&](const auto& values, const char* name) {
      const auto n = static_cast<std::int64_t>(values.size());
      TORCH_CHECK_VALUE(n == 1 || n == rank, "detect_objects: ", name, " has ", n, " numbers, expected one or one for each of ", rank, " axes");
      return values[static_cast<std::size_t>(n == 1 ? 0 : axis)];
    };
    const auto roi = each(windows.roi, "roi");
    const auto overlap = each(windows.overlap, "overlap");
    TORCH_CHECK_VALUE(roi >= 0, "detect_objects: roi=", roi, " must not be negative");
    TORCH_CHECK_VALUE(overlap >= 0 && overlap < 1, "detect_objects: overlap=", overlap, " must be within [0, 1)");
    const auto size = image.size(axis + 1);
    axes.push_back(axis_windows(size, roi, overlap));
    const auto missing = axes.back().roi - size;
    if (missing <= 0) continue;
    auto shape = image.sizes().vec();
    shape[static_cast<std::size_t>(axis + 1)] = missing;
    image = at::cat({image, at::full(shape, windows.fill, image.options())}, axis + 1);
  }
  return axes;
}

// The number along each axis of window `w`; the last axis is the fastest.
std::vector<std::size_t> window_place(const std::vector<AxisWindows>& axes, std::int64_t w) {
  std::vector<std::size_t> place(axes.size());
  auto rest = static_cast<std::size_t>(w);
  for (auto axis = axes.size(); axis-- > 0; rest /= axes[axis].starts.size()) place[axis] = rest % axes[axis].starts.size();
  return place;
}

// Appends those objects of a window whose center lies in its core and in the image, at their place in the image.
void append_own(Objects& to, Objects found, const std::vector<AxisWindows>& axes, const std::vector<std::size_t>& place, double margin) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    bool own = true;
    for (std::size_t a = 0; a < axes.size(); ++a) {
      auto& center = found.places[axes.size() * i + a];
      center += static_cast<double>(axes[a].starts[place[a]]);
      own = own && center >= axes[a].edges[place[a]] - margin && center < axes[a].edges[place[a] + 1] + margin;
      own = own && center >= 0 && center <= static_cast<double>(axes[a].size);
    }
    if (own) append_row(to, found, i);
  }
}

}  // namespace

Objects objects_in(const at::Tensor& given, const ObjectOptions& options) {
  const auto maps = given.to(at::kCPU, at::kFloat).contiguous();
  const auto rank = maps.dim() - 1;
  const bool stars = options.kind == Detected::kStars;
  const auto scores = stars ? 1 : options.classes;
  const auto numbers = stars ? options.rays + (options.classes > 1 ? options.classes + 1 : 0) : (options.kind == Detected::kBoxes ? 2 : 1) * rank;
  TORCH_CHECK_VALUE(rank >= 1 && rank <= 3 && maps.size(0) == scores + numbers, "detect: expected maps of ", scores + numbers, " channels, got ", maps.sizes());
  const auto heat = maps.slice(0, 0, scores);
  // [n, 1 + rank]; what nonzero() gives lies in memory column by column.
  const auto found = (stars ? heat.gt(options.threshold).nonzero() : peaks_of(heat, options.threshold)).contiguous();
  const auto n = found.size(0), plane = maps.numel() / maps.size(0);
  const auto* data = maps.const_data_ptr<float>();
  Objects out;
  out.rank = rank;
  out.numbers = shape_numbers(options, rank);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto* row = found.const_data_ptr<std::int64_t>() + i * (rank + 1);
    std::int64_t index = 0;
    for (std::int64_t axis = 0; axis < rank; ++axis) index = index * maps.size(axis + 1) + row[axis + 1];
    const auto at_cell = [&](std::int64_t channel) { return static_cast<double>(data[channel * plane + index]); };
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      const auto cell = static_cast<double>(row[axis + 1] * options.stride);
      out.places.push_back(stars ? cell + static_cast<double>(options.stride / 2) + 0.5 : cell + at_cell(scores + axis) * static_cast<double>(options.stride));
    }
    const auto first = stars ? 1 : scores + rank;
    for (std::int64_t k = 0; k < out.numbers; ++k) out.shapes.push_back(at_cell(first + k));
    out.scores.push_back(at_cell(row[0]));
    std::int64_t own = stars ? 0 : row[0];
    for (std::int64_t k = 1; stars && options.classes > 1 && k < options.classes; ++k)
      if (at_cell(2 + options.rays + k) > at_cell(2 + options.rays + own)) own = k;
    out.classes.push_back(static_cast<std::int32_t>(own));
  }
  return out;
}

Objects suppressed(const Objects& objects, const ObjectOptions& options) {
  const metrics::Candidates candidates{objects.scores, options.per_class ? objects.classes : std::vector<std::int32_t>{}};
  const auto rank = static_cast<std::size_t>(objects.rank);
  std::vector<std::int64_t> kept;
  if (options.kind == Detected::kPoints) {
    kept = metrics::suppress_points(candidates, objects.places, rank, options.distance);
  } else if (options.kind == Detected::kBoxes) {
    std::vector<double> edges;
    for (std::size_t i = 0; i < objects.size(); ++i)
      for (const auto side : {-0.5, 0.5})
        for (std::size_t axis = 0; axis < rank; ++axis) edges.push_back(objects.places[rank * i + axis] + side * objects.shapes[rank * i + axis]);
    kept = metrics::suppress_boxes(candidates, edges, rank, options.overlap);
  } else {
    const metrics::Stars stars{objects.places, objects.shapes, static_cast<std::size_t>(options.rays)};
    kept = metrics::suppress_stars(candidates, stars, options.overlap, options.star_overlap);
  }
  Objects out;
  out.rank = objects.rank;
  out.numbers = objects.numbers;
  for (const auto i : kept) append_row(out, objects, static_cast<std::size_t>(i));
  return out;
}

Objects detect_objects(const at::Tensor& image, const nn::WindowPredictor& predictor, const DetectWindows& windows, const ObjectOptions& options,
                       const std::function<void()>& between) {
  const c10::NoGradGuard guard;
  TORCH_CHECK_VALUE(image.dim() >= 2 && image.dim() <= 4 && image.numel() > 0, "detect_objects: image must be [C, 1 to 3 spatial axes], got ", image.sizes());
  TORCH_CHECK_VALUE(windows.batch >= 1, "detect_objects: batch_size=", windows.batch, " must be at least 1");
  auto padded = image;
  const auto axes = laid_out(padded, windows);
  std::int64_t count = 1;
  for (const auto& axis : axes) count *= static_cast<std::int64_t>(axis.starts.size());
  const auto margin = options.kind == Detected::kPoints && options.distance == 0 ? 0.0 : 2.0 * static_cast<double>(options.stride);
  Objects all;
  all.rank = image.dim() - 1;
  all.numbers = shape_numbers(options, all.rank);
  for (std::int64_t first = 0; first < count; first += windows.batch) {
    if (between) between();
    std::vector<at::Tensor> parts;
    std::vector<std::vector<std::size_t>> places;
    for (auto w = first; w < std::min(first + windows.batch, count); ++w) {
      places.push_back(window_place(axes, w));
      auto part = padded;
      for (std::size_t axis = 0; axis < axes.size(); ++axis)
        part = part.narrow(static_cast<std::int64_t>(axis) + 1, axes[axis].starts[places.back()[axis]], axes[axis].roi);
      parts.push_back(part);
    }
    const auto maps = predictor(at::stack(parts));
    TORCH_CHECK_VALUE(maps.dim() == all.rank + 2 && maps.size(0) == static_cast<std::int64_t>(parts.size()), "detect_objects: expected maps [", parts.size(),
                      ", channels, ", all.rank, " spatial axes], got ", maps.sizes());
    for (std::size_t i = 0; i < places.size(); ++i) append_own(all, objects_in(maps[static_cast<std::int64_t>(i)], options), axes, places[i], margin);
  }
  return suppressed(all, options);
}

}  // namespace sslmed::tasks
