// Detection: the task, its losses and targets, and what makes objects of its maps.

#include "tasks/detect.h"

#include <ATen/Functions.h>

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "metrics/stars.h"
#include "tasks/detect_losses.h"
#include "tasks/detect_objects.h"
#include "tasks/detect_targets.h"

namespace sslmed::bindings {
namespace {

using tasks::Detect;
using tasks::Detected;
using tasks::DetectOptions;
using tasks::ObjectOptions;

const Choices<Detected> kDetected{{"points", Detected::kPoints}, {"boxes", Detected::kBoxes}, {"stars", Detected::kStars}};
const Choices<metrics::StarOverlap> kStarOverlap{{"smaller", metrics::StarOverlap::kSmaller}, {"iou", metrics::StarOverlap::kUnion}};

std::vector<double> doubles_of(const at::Tensor& given) {
  const auto held = given.to(at::kCPU, at::kDouble).contiguous();
  return {held.const_data_ptr<double>(), held.const_data_ptr<double>() + held.numel()};
}

metrics::Candidates candidates_of(const at::Tensor& scores, const std::optional<at::Tensor>& classes, std::int64_t n) {
  TORCH_CHECK_VALUE(scores.dim() == 1 && scores.size(0) == n, "scores must be [", n, "], got ", scores.sizes());
  TORCH_CHECK_VALUE(!scores.isnan().any().item<bool>(), "scores must be numbers, got NaN");
  TORCH_CHECK_VALUE(!classes || classes->sizes() == scores.sizes(), "labels must be ", scores.sizes(), " as the scores");
  metrics::Candidates out{doubles_of(scores), {}};
  if (!classes) return out;
  const auto held = classes->to(at::kCPU, at::kInt).contiguous();
  out.classes.assign(held.const_data_ptr<std::int32_t>(), held.const_data_ptr<std::int32_t>() + n);
  return out;
}

at::Tensor indices_of(const std::vector<std::int64_t>& kept) { return at::tensor(kept, at::kLong); }

metrics::Stars stars_of(const at::Tensor& centers, const at::Tensor& distances) {
  TORCH_CHECK_VALUE(centers.dim() == 2 && centers.size(1) == 2, "centers must be [n, 2], got ", centers.sizes());
  TORCH_CHECK_VALUE(distances.dim() == 2 && distances.size(0) == centers.size(0) && distances.size(1) >= 3, "distances must be [", centers.size(0),
                    ", rays] of at least 3 rays, got ", distances.sizes());
  return {doubles_of(centers), doubles_of(distances), static_cast<std::size_t>(distances.size(1))};
}

const std::int32_t* labels_of(at::Tensor& labels) {
  TORCH_CHECK_VALUE(labels.dim() == 2 && labels.numel() > 0 && !labels.is_floating_point(), "labels must be whole numbers [rows, columns], got ",
                    labels.scalar_type(), " ", labels.sizes());
  labels = labels.to(at::kCPU, at::kInt).contiguous();
  return labels.const_data_ptr<std::int32_t>();
}

void bind_suppression(py::module_& m) {
  m.def(
      "nms_boxes",
      [](const at::Tensor& boxes, const at::Tensor& scores, const std::optional<at::Tensor>& classes, double iou) {
        TORCH_CHECK_VALUE(boxes.dim() == 3 && boxes.size(1) == 2 && boxes.size(2) >= 1, "boxes must be [n, 2, rank], got ", boxes.sizes());
        return indices_of(
            metrics::suppress_boxes(candidates_of(scores, classes, boxes.size(0)), doubles_of(boxes), static_cast<std::size_t>(boxes.size(2)), iou));
      },
      py::arg("boxes"), py::arg("scores"), py::arg("classes"), py::arg("iou"));
  m.def(
      "nms_points",
      [](const at::Tensor& points, const at::Tensor& scores, const std::optional<at::Tensor>& classes, double distance) {
        TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) >= 1, "points must be [n, rank], got ", points.sizes());
        return indices_of(
            metrics::suppress_points(candidates_of(scores, classes, points.size(0)), doubles_of(points), static_cast<std::size_t>(points.size(1)), distance));
      },
      py::arg("points"), py::arg("scores"), py::arg("classes"), py::arg("distance"));
  m.def(
      "nms_stars",
      [](const at::Tensor& centers, const at::Tensor& distances, const at::Tensor& scores, const std::optional<at::Tensor>& classes, double overlap,
         const std::string& by) {
        const auto stars = stars_of(centers, distances);
        return indices_of(metrics::suppress_stars(candidates_of(scores, classes, centers.size(0)), stars, overlap, choice(by, kStarOverlap, "by")));
      },
      py::arg("centers"), py::arg("distances"), py::arg("scores"), py::arg("classes"), py::arg("overlap"), py::arg("by"));
}

void bind_stars(py::module_& m) {
  m.def(
      "star_distances",
      [](at::Tensor labels, std::int64_t rays, std::int64_t stride) {
        const auto* values = labels_of(labels);
        TORCH_CHECK_VALUE(rays >= 3 && stride >= 1, "star_distances: rays=", rays, " must be at least 3 and stride=", stride, " at least 1");
        auto out = at::empty({labels.size(0) / stride, labels.size(1) / stride, rays}, at::kFloat);
        metrics::star_distances(values, labels.size(0), labels.size(1), stride, rays, out.mutable_data_ptr<float>());
        return out;
      },
      py::arg("labels"), py::arg("rays"), py::arg("stride"));
  m.def(
      "object_probability",
      [](at::Tensor labels) {
        const auto* values = labels_of(labels);
        auto out = at::empty(labels.sizes(), at::kFloat);
        metrics::object_probability(values, labels.size(0), labels.size(1), out.mutable_data_ptr<float>());
        return out;
      },
      py::arg("labels"));
  m.def(
      "draw_stars",
      [](const at::Tensor& centers, const at::Tensor& distances, std::int64_t rows, std::int64_t columns) {
        TORCH_CHECK_VALUE(rows >= 1 && columns >= 1, "draw_stars: shape must be positive, got ", rows, " x ", columns);
        auto out = at::zeros({rows, columns}, at::kInt);
        metrics::draw_stars(stars_of(centers, distances), rows, columns, out.mutable_data_ptr<std::int32_t>());
        return out;
      },
      py::arg("centers"), py::arg("distances"), py::arg("rows"), py::arg("columns"));
  m.def(
      "star_overlap",
      [](const at::Tensor& centers, const at::Tensor& distances, std::int64_t i, std::int64_t j) {
        const auto stars = stars_of(centers, distances);
        TORCH_CHECK_INDEX(std::min(i, j) >= 0 && std::max(i, j) < centers.size(0), "star_overlap: there are ", centers.size(0), " shapes");
        return metrics::shared_area(stars, static_cast<std::size_t>(i), static_cast<std::size_t>(j), 1e300);
      },
      py::arg("centers"), py::arg("distances"), py::arg("i"), py::arg("j"));
}

void bind_targets_and_losses(py::module_& m) {
  m.def("heat_focal", &tasks::heat_focal, py::arg("logits"), py::arg("heat"), py::arg("alpha"), py::arg("beta"), py::call_guard<py::gil_scoped_release>());
  m.def(
      "star_losses",
      [](const at::Tensor& object, const at::Tensor& distances, const std::optional<at::Tensor>& classes, const at::Tensor& true_probability,
         const at::Tensor& true_distances, const at::Tensor& true_classes, double background) {
        const auto out = tasks::star_losses(object, distances, classes.value_or(at::Tensor()), true_probability, true_distances, true_classes, background);
        return std::make_tuple(out.probability, out.distances, out.classes.defined() ? std::optional(out.classes) : std::nullopt);
      },
      py::arg("object"), py::arg("distances"), py::arg("classes"), py::arg("true_probability"), py::arg("true_distances"), py::arg("true_classes"),
      py::arg("background"), py::call_guard<py::gil_scoped_release>());
  m.def("gaussian_radius", &tasks::gaussian_radius, py::arg("sides"), py::arg("min_overlap"));
  m.def(
      "center_targets",
      [](const at::Tensor& objects, const std::vector<std::int64_t>& cells, std::int64_t classes, std::int64_t stride, double radius, double min_overlap) {
        const auto out = tasks::center_targets(objects, cells, {classes, stride, radius, min_overlap});
        return std::make_tuple(out.heat, out.cells, out.offsets, out.sizes.defined() ? std::optional(out.sizes) : std::nullopt);
      },
      py::arg("objects"), py::arg("cells"), py::arg("classes"), py::arg("stride"), py::arg("radius"), py::arg("min_overlap"));
  m.def(
      "star_targets",
      [](const at::Tensor& map, std::int64_t stride, std::int64_t rays) {
        const auto out = tasks::star_targets(map, stride, rays);
        return std::make_tuple(out.probability, out.distances, out.classes);
      },
      py::arg("map"), py::arg("stride"), py::arg("rays"));
}

// places [n, rank], scores, classes, shapes [n, numbers] as tensors.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> tensors_of(const tasks::Objects& found) {
  const auto n = static_cast<std::int64_t>(found.size());
  const auto classes = at::empty({n}, at::kInt);
  std::copy(found.classes.begin(), found.classes.end(), classes.mutable_data_ptr<std::int32_t>());
  return {at::tensor(found.places, at::kDouble).view({n, found.rank}), at::tensor(found.scores, at::kDouble), classes,
          at::tensor(found.shapes, at::kDouble).view({n, found.numbers})};
}

void bind_objects(py::module_& m) {
  auto bound = bind_options<ObjectOptions>(m, "ObjectOptions", "Of objects out of maps (tasks/detect_objects.h).");
  bound.def_readwrite("classes", &ObjectOptions::classes)
      .def_readwrite("stride", &ObjectOptions::stride)
      .def_readwrite("rays", &ObjectOptions::rays)
      .def_readwrite("threshold", &ObjectOptions::threshold)
      .def_readwrite("distance", &ObjectOptions::distance)
      .def_readwrite("overlap", &ObjectOptions::overlap)
      .def_readwrite("per_class", &ObjectOptions::per_class);
  def_choice(bound, "kind", &ObjectOptions::kind, kDetected);
  def_choice(bound, "by", &ObjectOptions::star_overlap, kStarOverlap);
  m.def(
      "detect_objects",
      [](const at::Tensor& image, const py::object& predictor, const std::vector<std::int64_t>& roi, const std::vector<double>& overlap, std::int64_t batch,
         double fill, const ObjectOptions& options) {
        const auto interrupted = [] {
          const py::gil_scoped_acquire lock;
          if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        };
        const tasks::DetectWindows windows{roi, overlap, batch, fill};
        if (py::isinstance<Detect>(predictor)) {
          const auto task = py::cast<std::shared_ptr<Detect>>(predictor);
          tasks::Objects found;
          {
            const py::gil_scoped_release release;
            found = tasks::detect_objects(image, [&](const at::Tensor& x) { return task->forward(x); }, windows, options, interrupted);
          }
          return tensors_of(found);
        }
        const auto call = [&](const at::Tensor& x) { return py::cast<at::Tensor>(predictor(x)); };
        return tensors_of(tasks::detect_objects(image, call, windows, options, interrupted));
      },
      py::arg("image"), py::arg("predictor"), py::arg("roi"), py::arg("overlap"), py::arg("batch"), py::arg("fill"), py::arg("options"));
}

}  // namespace

void bind_detect(py::module_& m) {
  bind_suppression(m);
  bind_stars(m);
  bind_targets_and_losses(m);
  bind_objects(m);
  auto bound = bind_options<DetectOptions>(m, "DetectOptions", "Of a task learned from objects (tasks/detect.h).");
  bound.def_readwrite("target", &DetectOptions::target)
      .def_readwrite("classes", &DetectOptions::classes)
      .def_readwrite("decoder", &DetectOptions::decoder)
      .def_readwrite("features", &DetectOptions::features)
      .def_readwrite("layers", &DetectOptions::layers)
      .def_readwrite("groups", &DetectOptions::groups)
      .def_readwrite("residual", &DetectOptions::residual)
      .def_readwrite("attention", &DetectOptions::attention)
      .def_readwrite("stride", &DetectOptions::stride)
      .def_readwrite("rays", &DetectOptions::rays)
      .def_readwrite("scale", &DetectOptions::scale)
      .def_readwrite("radius", &DetectOptions::radius)
      .def_readwrite("min_overlap", &DetectOptions::min_overlap)
      .def_readwrite("score_weight", &DetectOptions::score_weight)
      .def_readwrite("offset_weight", &DetectOptions::offset_weight)
      .def_readwrite("size_weight", &DetectOptions::size_weight)
      .def_readwrite("distance_weight", &DetectOptions::distance_weight)
      .def_readwrite("class_weight", &DetectOptions::class_weight)
      .def_readwrite("background", &DetectOptions::background)
      .def_readwrite("layer_decay", &DetectOptions::layer_decay)
      .def_readwrite("drop_path", &DetectOptions::drop_path)
      .def_readwrite("seed", &DetectOptions::seed);
  def_choice(bound, "kind", &DetectOptions::kind, kDetected);
  def_choice(bound, "tuned", &DetectOptions::tuned, Choices<tasks::Tuned>{{"encoder", tasks::Tuned::kEncoder}, {"nothing", tasks::Tuned::kNothing}});
  py::class_<Detect, methods::Objective, std::shared_ptr<Detect>> task(m, "Detect");
  task.def(py::init([](std::shared_ptr<nn::Encoder> encoder, const DetectOptions& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<Detect>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none())
      .def("forward_dense", &Detect::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>());
  mirror(task);
}

}  // namespace sslmed::bindings
