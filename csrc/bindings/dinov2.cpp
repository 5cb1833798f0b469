// DINOv2, and contrast by metadata.

#include "methods/dinov2.h"

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "methods/metadata_contrast.h"

namespace sslmed::bindings {
namespace {

using methods::DinoV2;
using methods::DinoV2Options;
using methods::MetadataContrast;
using methods::MetadataContrastOptions;

void bind_dinov2_options(py::module_& m) {
  using methods::Centering;
  using methods::Spread;
  auto options = bind_options<DinoV2Options>(m, "DinoV2Options", "Of DINOv2 (methods/dinov2.h).");
  def_choice(options, "centering", &DinoV2Options::centering, Choices<Centering>{{"sinkhorn", Centering::kSinkhorn}, {"softmax", Centering::kSoftmax}});
  def_choice(options, "regularizer", &DinoV2Options::spread,
             Choices<Spread>{{"koleo", Spread::kKoleo}, {"uniformity", Spread::kUniformity}, {"none", Spread::kNone}});
  options.def_readwrite("prototypes", &DinoV2Options::prototypes)
      .def_readwrite("hidden", &DinoV2Options::hidden)
      .def_readwrite("bottleneck", &DinoV2Options::bottleneck)
      .def_readwrite("shared_head", &DinoV2Options::shared_head)
      .def_readwrite("dino_weight", &DinoV2Options::dino_weight)
      .def_readwrite("ibot_weight", &DinoV2Options::ibot_weight)
      .def_readwrite("iterations", &DinoV2Options::iterations)
      .def_readwrite("center_momentum", &DinoV2Options::center_momentum)
      .def_readwrite("regularizer_weight", &DinoV2Options::spread_weight)
      .def_readwrite("kappa", &DinoV2Options::kappa)
      .def_readwrite("student_temperature", &DinoV2Options::student_temperature)
      .def_readwrite("teacher_temperature_start", &DinoV2Options::teacher_temperature_start)
      .def_readwrite("teacher_temperature", &DinoV2Options::teacher_temperature)
      .def_readwrite("teacher_warmup", &DinoV2Options::teacher_warmup)
      .def_readwrite("momentum", &DinoV2Options::momentum)
      .def_readwrite("freeze_last", &DinoV2Options::freeze_last)
      .def_readwrite("layer_decay", &DinoV2Options::layer_decay)
      .def_readwrite("patch_embed_lr", &DinoV2Options::patch_embed)
      .def_readwrite("drop_path", &DinoV2Options::drop_path)
      .def_readwrite("gram_weight", &DinoV2Options::gram_weight)
      .def_readwrite("gram_start", &DinoV2Options::gram_start)
      .def_readwrite("gram_refresh", &DinoV2Options::gram_refresh)
      .def_readwrite("seed", &DinoV2Options::seed);
}

void bind_metadata_contrast(py::module_& m) {
  using methods::MetadataKernel;
  auto options = bind_options<MetadataContrastOptions>(m, "MetadataContrastOptions", "Of y-Aware and L^exp (methods/metadata_contrast.h).");
  def_choice(options, "kernel", &MetadataContrastOptions::kernel,
             Choices<MetadataKernel>{{"y_aware", MetadataKernel::kYAware}, {"l_exp", MetadataKernel::kLExp}});
  options.def_readwrite("targets", &MetadataContrastOptions::targets)
      .def_readwrite("sigmas", &MetadataContrastOptions::sigmas)
      .def_readwrite("temperature", &MetadataContrastOptions::temperature)
      .def_readwrite("hidden", &MetadataContrastOptions::hidden)
      .def_readwrite("out", &MetadataContrastOptions::out)
      .def_readwrite("layers", &MetadataContrastOptions::layers)
      .def_readwrite("seed", &MetadataContrastOptions::seed);
  py::class_<MetadataContrast, methods::Objective, std::shared_ptr<MetadataContrast>> type(m, "MetadataContrast");
  type.def(
      py::init([](std::shared_ptr<nn::Encoder> encoder, const MetadataContrastOptions& chosen, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
        return std::make_shared<MetadataContrast>(std::move(encoder), chosen, recipe.value_or(nullptr));
      }),
      py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
}

}  // namespace

void bind_dinov2(py::module_& m) {
  bind_dinov2_options(m);
  py::class_<DinoV2, methods::Objective, std::shared_ptr<DinoV2>> type(m, "DinoV2");
  type.def(
      py::init([](std::shared_ptr<nn::VisionTransformer> encoder, const DinoV2Options& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
        return std::make_shared<DinoV2>(std::move(encoder), options, recipe.value_or(nullptr));
      }),
      py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
  bind_metadata_contrast(m);
}

}  // namespace sslmed::bindings
