// Methods of several views.

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "methods/byol.h"
#include "methods/dino.h"
#include "methods/moco.h"
#include "methods/redundancy.h"
#include "methods/simclr.h"

namespace sslmed::bindings {
namespace {

using OptionalRecipe = std::optional<std::shared_ptr<data::Recipe>>;

// An objective around one encoder.
template <class Method, class Options>
void bind_single(py::module_& m, const char* name) {
  py::class_<Method, methods::Objective, std::shared_ptr<Method>> type(m, name);
  type.def(py::init([](std::shared_ptr<nn::Encoder> encoder, const Options& options, const OptionalRecipe& recipe) {
             return std::make_shared<Method>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
}

// And one around an encoder and its averaged twin.
template <class Method, class Options>
void bind_twin(py::module_& m, const char* name) {
  py::class_<Method, methods::Objective, std::shared_ptr<Method>> type(m, name);
  type.def(py::init([](std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const Options& options, const OptionalRecipe& recipe) {
             return std::make_shared<Method>(std::move(encoder), std::move(twin), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("twin"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
}

void bind_contrast(py::module_& m) {
  using methods::SimClrOptions;
  bind_options<SimClrOptions>(m, "SimClrOptions", "Of SimCLR (methods/simclr.h).")
      .def_readwrite("temperature", &SimClrOptions::temperature)
      .def_readwrite("hidden", &SimClrOptions::hidden)
      .def_readwrite("out", &SimClrOptions::out)
      .def_readwrite("layers", &SimClrOptions::layers)
      .def_readwrite("seed", &SimClrOptions::seed);
  bind_single<methods::SimClr, SimClrOptions>(m, "SimClr");

  using methods::MocoOptions;
  bind_options<MocoOptions>(m, "MocoOptions", "Of MoCo v3 (methods/moco.h).")
      .def_readwrite("temperature", &MocoOptions::temperature)
      .def_readwrite("hidden", &MocoOptions::hidden)
      .def_readwrite("out", &MocoOptions::out)
      .def_readwrite("momentum", &MocoOptions::momentum)
      .def_readwrite("freeze_patches", &MocoOptions::freeze_patches)
      .def_readwrite("seed", &MocoOptions::seed);
  bind_twin<methods::Moco, MocoOptions>(m, "Moco");
}

void bind_distillation(py::module_& m) {
  using methods::ByolOptions;
  bind_options<ByolOptions>(m, "ByolOptions", "Of BYOL (methods/byol.h).")
      .def_readwrite("hidden", &ByolOptions::hidden)
      .def_readwrite("out", &ByolOptions::out)
      .def_readwrite("momentum", &ByolOptions::momentum)
      .def_readwrite("seed", &ByolOptions::seed);
  bind_twin<methods::Byol, ByolOptions>(m, "Byol");

  using methods::DinoOptions;
  bind_options<DinoOptions>(m, "DinoOptions", "Of DINO (methods/dino.h).")
      .def_readwrite("prototypes", &DinoOptions::prototypes)
      .def_readwrite("hidden", &DinoOptions::hidden)
      .def_readwrite("bottleneck", &DinoOptions::bottleneck)
      .def_readwrite("student_temperature", &DinoOptions::student_temperature)
      .def_readwrite("teacher_temperature_start", &DinoOptions::teacher_temperature_start)
      .def_readwrite("teacher_temperature", &DinoOptions::teacher_temperature)
      .def_readwrite("teacher_warmup", &DinoOptions::teacher_warmup)
      .def_readwrite("center_momentum", &DinoOptions::center_momentum)
      .def_readwrite("momentum", &DinoOptions::momentum)
      .def_readwrite("freeze_last", &DinoOptions::freeze_last)
      .def_readwrite("seed", &DinoOptions::seed);
  bind_twin<methods::Dino, DinoOptions>(m, "Dino");
}

void bind_redundancy(py::module_& m) {
  using methods::VicRegOptions;
  bind_options<VicRegOptions>(m, "VicRegOptions", "Of VICReg (methods/redundancy.h).")
      .def_readwrite("invariance", &VicRegOptions::invariance)
      .def_readwrite("variance", &VicRegOptions::variance)
      .def_readwrite("covariance", &VicRegOptions::covariance)
      .def_readwrite("hidden", &VicRegOptions::hidden)
      .def_readwrite("out", &VicRegOptions::out)
      .def_readwrite("seed", &VicRegOptions::seed);
  bind_single<methods::VicReg, VicRegOptions>(m, "VicReg");

  using methods::BarlowTwinsOptions;
  bind_options<BarlowTwinsOptions>(m, "BarlowTwinsOptions", "Of Barlow Twins (methods/redundancy.h).")
      .def_readwrite("off_diagonal", &BarlowTwinsOptions::off_diagonal)
      .def_readwrite("hidden", &BarlowTwinsOptions::hidden)
      .def_readwrite("out", &BarlowTwinsOptions::out)
      .def_readwrite("seed", &BarlowTwinsOptions::seed);
  bind_single<methods::BarlowTwins, BarlowTwinsOptions>(m, "BarlowTwins");
}

}  // namespace

void bind_joint_embedding(py::module_& m) {
  bind_contrast(m);
  bind_distillation(m);
  bind_redundancy(m);
}

}  // namespace sslmed::bindings
