// Encoders of slices, and distillation.

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "data/paired_recipe.h"
#include "methods/distill.h"
#include "nn/slices.h"

namespace sslmed::bindings {
namespace {

void bind_slice_encoder(py::module_& m) {
  using nn::SliceConfig;
  using nn::SliceEncoder;
  using nn::SliceFeature;
  auto config = bind_options<SliceConfig>(m, "SliceConfig", "Which slices an encoder sees, and how they are pooled (nn/slices.h).");
  config.def_readwrite("axes", &SliceConfig::axes)
      .def_readwrite("stride", &SliceConfig::stride)
      .def_readwrite("around", &SliceConfig::around)
      .def_readwrite("upright", &SliceConfig::upright)
      .def_readwrite("slice_size", &SliceConfig::slice_size)
      .def_readwrite("in_chans", &SliceConfig::in_chans)
      .def_readwrite("chunk", &SliceConfig::chunk)
      .def_readwrite("attention", &SliceConfig::attention)
      .def_readwrite("join", &SliceConfig::join)
      .def_readwrite("seed", &SliceConfig::seed);
  def_choice(config, "feature", &SliceConfig::feature, Choices<SliceFeature>{{"mean", SliceFeature::kMean}, {"cls", SliceFeature::kClassToken}});
  py::class_<SliceEncoder, nn::Encoder, std::shared_ptr<SliceEncoder>> type(m, "SliceEncoder", "An encoder of two axes over the slices of volumes.");
  type.def(py::init<std::shared_ptr<nn::Encoder>, SliceConfig>(), py::arg("encoder"), py::arg("config"))
      .def(
          "forward_dense",
          [](const SliceEncoder& self, const at::Tensor& dense, const std::optional<std::shared_ptr<nn::Comm>>& comm) {
            nn::Context context;
            if (comm && *comm) context.comm = comm->get();
            const auto out = self.forward_view(nn::DenseInput{dense, {}}, context);
            return std::make_tuple(out.tokens, out.pooled, out.lengths, out.pyramid);
          },
          py::arg("dense"), py::arg("comm") = py::none(), py::call_guard<py::gil_scoped_release>(), "(tokens, pooled, lengths, pyramid)")
      .def("places", &SliceEncoder::places, py::arg("cells"), "Places of the slices along an axis of so many cells.");
  mirror(type);
}

void bind_distill(py::module_& m) {
  using methods::Distill;
  using methods::DistillLoss;
  using methods::DistillOptions;
  auto options = bind_options<DistillOptions>(m, "DistillOptions", "Of distillation (methods/distill.h).");
  options.def_readwrite("layers", &DistillOptions::layers)
      .def_readwrite("hidden", &DistillOptions::hidden)
      .def_readwrite("token_weight", &DistillOptions::token_weight)
      .def_readwrite("seed", &DistillOptions::seed);
  def_choice(options, "loss", &DistillOptions::loss, Choices<DistillLoss>{{"cosine", DistillLoss::kCosine}, {"mse", DistillLoss::kMse}});
  py::class_<Distill, methods::Objective, std::shared_ptr<Distill>> type(m, "Distill", "A frozen encoder's features as the target of another one.");
  type.def(py::init([](std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> teacher, const DistillOptions& chosen,
                       const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<Distill>(std::move(encoder), std::move(teacher), chosen, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("teacher"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
  m.def("resample_tokens", &methods::resample_tokens, py::arg("tokens"), py::arg("grid"), py::arg("to"), "[N, D] over another grid, linearly.");
}

}  // namespace

void bind_lift(py::module_& m) {
  m.def(
      "position_grid",
      [](const nn::VisionTransformer& encoder) {
        const auto& embedding = encoder.config().embedding;
        return embedding.positions == nn::Positions::kCoordinates ? std::vector<std::int64_t>() : embedding.grid();
      },
      py::arg("encoder"), "Cells along each axis of the first embedding's table of positions; empty where tokens are placed by coordinates.");
  py::class_<data::PairedRecipe, data::Recipe, std::shared_ptr<data::PairedRecipe>>(m, "PairedRecipe", "Views for two encoders (data/paired_recipe.h).")
      .def(py::init<std::shared_ptr<const data::Recipe>, std::shared_ptr<const data::Recipe>, std::string>(), py::arg("first"), py::arg("second"),
           py::arg("role") = "teacher");
  bind_slice_encoder(m);
  bind_distill(m);
}

}  // namespace sslmed::bindings
