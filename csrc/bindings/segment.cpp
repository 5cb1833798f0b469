// Segmentation: decoders on encoders, the loss, the task.

#include "tasks/segment.h"

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "nn/sliding_window.h"

namespace sslmed::bindings {
namespace {

using tasks::DiceCeOptions;
using tasks::Segment;
using tasks::SegmentOptions;
using tasks::Tuned;

void bind_dice_ce(py::module_& m) {
  bind_options<DiceCeOptions>(m, "DiceCeOptions", "Of Dice and cross-entropy (tasks/dice_ce.h).")
      .def_readwrite("include_background", &DiceCeOptions::include_background)
      .def_readwrite("squared", &DiceCeOptions::squared)
      .def_readwrite("batch", &DiceCeOptions::batch)
      .def_readwrite("smooth_nr", &DiceCeOptions::smooth_nr)
      .def_readwrite("smooth_dr", &DiceCeOptions::smooth_dr)
      .def_readwrite("dice_weight", &DiceCeOptions::dice_weight)
      .def_readwrite("ce_weight", &DiceCeOptions::ce_weight)
      .def_readwrite("label_smoothing", &DiceCeOptions::label_smoothing)
      .def_readwrite("class_weights", &DiceCeOptions::class_weights)
      .def_readwrite("ignore", &DiceCeOptions::ignore);
  m.def("dice_ce", &tasks::dice_ce, py::arg("logits"), py::arg("labels"), py::arg("options"), py::call_guard<py::gil_scoped_release>());
}

void bind_segmenter(py::module_& m) {
  using nn::Segmenter;
  py::class_<Segmenter, std::shared_ptr<Segmenter>> net(m, "Segmenter", "An encoder with a decoder of its maps (nn/segmenter.h).");
  net.def(
         py::init([](std::shared_ptr<nn::Encoder> encoder, const std::string& decoder, std::int64_t classes, std::int64_t features,
                     const std::vector<std::int64_t>& layers, std::int64_t groups, bool residual, bool attention, std::uint64_t seed) {
           return std::make_shared<Segmenter>(std::move(encoder), nn::SegmenterConfig{decoder, classes, features, layers, {groups, residual, attention}, seed});
         }),
         py::arg("encoder"), py::kw_only(), py::arg("decoder") = "unet", py::arg("classes") = 2, py::arg("features") = 32,
         py::arg("layers") = std::vector<std::int64_t>(), py::arg("groups") = 0, py::arg("residual") = false, py::arg("attention") = false, py::arg("seed") = 0)
      .def("forward", &Segmenter::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>());
  mirror(net);
  m.def("decoder_names", &nn::decoder_names, "Names of decoders.");
}

void bind_sliding_window(py::module_& m) {
  using nn::SlidingWindowOptions;
  using nn::WindowConvention;
  using nn::WindowWeights;
  auto bound = bind_options<SlidingWindowOptions>(m, "SlidingWindowOptions", "Of prediction by windows (nn/sliding_window.h).");
  bound.def_readwrite("roi", &SlidingWindowOptions::roi)
      .def_readwrite("overlap", &SlidingWindowOptions::overlap)
      .def_readwrite("batch", &SlidingWindowOptions::batch)
      .def_readwrite("flips", &SlidingWindowOptions::flips)
      .def_readwrite("fill", &SlidingWindowOptions::fill)
      .def_readwrite("argmax", &SlidingWindowOptions::argmax);
  def_choice(bound, "mode", &SlidingWindowOptions::weights,
             Choices<WindowWeights>{{"gaussian", WindowWeights::kGaussian}, {"constant", WindowWeights::kConstant}});
  def_choice(bound, "convention", &SlidingWindowOptions::convention,
             Choices<WindowConvention>{{"monai", WindowConvention::kMonai}, {"nnunet", WindowConvention::kNnunet}});
  m.def(
      "sliding_window",
      [](const at::Tensor& image, const py::object& predictor, const SlidingWindowOptions& options) {
        const auto interrupted = [] {
          const py::gil_scoped_acquire lock;
          if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        };
        if (py::isinstance<nn::Segmenter>(predictor)) {
          const auto net = py::cast<std::shared_ptr<nn::Segmenter>>(predictor);
          const py::gil_scoped_release release;
          return nn::sliding_window(image, [&](const at::Tensor& windows) { return net->forward(windows); }, options, interrupted);
        }
        if (py::isinstance<Segment>(predictor)) {
          const auto task = py::cast<std::shared_ptr<Segment>>(predictor);
          const py::gil_scoped_release release;
          return nn::sliding_window(image, [&](const at::Tensor& windows) { return task->forward(windows); }, options, interrupted);
        }
        return nn::sliding_window(image, [&](const at::Tensor& windows) { return py::cast<at::Tensor>(predictor(windows)); }, options, interrupted);
      },
      py::arg("image"), py::arg("predictor"), py::arg("options"));
  m.def(
      "window_starts",
      [](std::int64_t size, std::int64_t roi, double overlap, const std::string& convention) {
        return nn::window_starts(
            size, roi, overlap,
            choice(convention, Choices<WindowConvention>{{"monai", WindowConvention::kMonai}, {"nnunet", WindowConvention::kNnunet}}, "convention"));
      },
      py::arg("size"), py::arg("roi"), py::arg("overlap"), py::arg("convention"), "First cells of the windows along an axis.");
}

}  // namespace

void bind_segment(py::module_& m) {
  bind_dice_ce(m);
  bind_segmenter(m);
  bind_sliding_window(m);
  auto bound = bind_options<SegmentOptions>(m, "SegmentOptions", "Of a task learned from label maps (tasks/segment.h).");
  bound.def_readwrite("target", &SegmentOptions::target)
      .def_readwrite("values", &SegmentOptions::values)
      .def_readwrite("decoder", &SegmentOptions::decoder)
      .def_readwrite("features", &SegmentOptions::features)
      .def_readwrite("layers", &SegmentOptions::layers)
      .def_readwrite("groups", &SegmentOptions::groups)
      .def_readwrite("residual", &SegmentOptions::residual)
      .def_readwrite("attention", &SegmentOptions::attention)
      .def_readwrite("loss", &SegmentOptions::loss)
      .def_readwrite("layer_decay", &SegmentOptions::layer_decay)
      .def_readwrite("drop_path", &SegmentOptions::drop_path)
      .def_readwrite("seed", &SegmentOptions::seed);
  def_choice(bound, "tuned", &SegmentOptions::tuned, Choices<Tuned>{{"encoder", Tuned::kEncoder}, {"nothing", Tuned::kNothing}});
  py::class_<Segment, methods::Objective, std::shared_ptr<Segment>> task(m, "Segment");
  task.def(py::init([](std::shared_ptr<nn::Encoder> encoder, const SegmentOptions& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<Segment>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none())
      .def("forward_dense", &Segment::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>());
  mirror(task);
}

}  // namespace sslmed::bindings
