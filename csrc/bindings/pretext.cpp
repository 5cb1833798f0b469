// Pretext tasks.

#include <map>

#include "bindings/mirror.h"
#include "bindings/options.h"
#include "masking/permutations.h"
#include "methods/autoencoder.h"
#include "methods/inpainting.h"
#include "methods/jigsaw.h"
#include "methods/rotation.h"
#include "methods/simmim.h"
#include "methods/spark.h"
#include "methods/voco.h"

namespace sslmed::bindings {
namespace {

using MaybeRecipe = std::optional<std::shared_ptr<data::Recipe>>;

// Of a task around views of a rank.
template <class Method, class Options>
py::class_<Method, methods::Pretext, std::shared_ptr<Method>> bind_ranked(py::module_& m, const char* name) {
  py::class_<Method, methods::Pretext, std::shared_ptr<Method>> type(m, name);
  type.def(py::init([](std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const Options& options, const MaybeRecipe& recipe) {
             return std::make_shared<Method>(std::move(encoder), rank, options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("rank"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
  return type;
}

// Of one whose encoder says its rank.
template <class Method, class Options>
void bind_restoring(py::module_& m, const char* name) {
  py::class_<Method, methods::Reconstruction, std::shared_ptr<Method>> type(m, name);
  type.def(py::init([](std::shared_ptr<nn::Encoder> encoder, const Options& options, const MaybeRecipe& recipe) {
             return std::make_shared<Method>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none());
  mirror(type);
}

void bind_puzzles(py::module_& m) {
  using methods::JigsawOptions, methods::RotationOptions, methods::VoCoOptions;
  bind_options<JigsawOptions>(m, "JigsawOptions", "Of jigsaw puzzles (methods/jigsaw.h).")
      .def_readwrite("grid", &JigsawOptions::grid)
      .def_readwrite("permutations", &JigsawOptions::permutations)
      .def_readwrite("gap", &JigsawOptions::gap)
      .def_readwrite("norm_tiles", &JigsawOptions::norm_tiles)
      .def_readwrite("tile_dim", &JigsawOptions::tile_dim)
      .def_readwrite("hidden", &JigsawOptions::hidden)
      .def_readwrite("seed", &JigsawOptions::seed);
  bind_ranked<methods::Jigsaw, JigsawOptions>(m, "Jigsaw").def_property_readonly("permutations", &methods::Jigsaw::permutations);
  m.def("distant_permutations", &masking::distant_permutations, py::arg("tiles"), py::arg("count"), py::arg("seed") = 0);

  bind_options<RotationOptions>(m, "RotationOptions", "Of the prediction of turns (methods/rotation.h).")
      .def_readwrite("all_turns", &RotationOptions::all_turns)
      .def_readwrite("seed", &RotationOptions::seed);
  bind_ranked<methods::Rotation, RotationOptions>(m, "Rotation");

  bind_options<VoCoOptions>(m, "VoCoOptions", "Of VoCo (methods/voco.h).")
      .def_readwrite("grid", &VoCoOptions::grid)
      .def_readwrite("crops", &VoCoOptions::crops)
      .def_readwrite("hidden", &VoCoOptions::hidden)
      .def_readwrite("out", &VoCoOptions::out)
      .def_readwrite("regularization", &VoCoOptions::regularization)
      .def_readwrite("stop_bases", &VoCoOptions::stop_bases)
      .def_readwrite("seed", &VoCoOptions::seed);
  bind_ranked<methods::VoCo, VoCoOptions>(m, "VoCo");
}

// The options of the decoder, which every task of reconstruction has beside its own.
template <class Options>
py::class_<Options> bind_decoder_options(py::module_& m, const char* name, const char* doc) {
  using methods::Distance;
  auto type = bind_options<Options>(m, name, doc);
  const auto flag = [&type](const char* option, bool methods::ReconstructionOptions::*member) {
    type.def_property(
        option, [member](const Options& options) { return options.reconstruction.*member; },
        [member](Options& options, bool value) { options.reconstruction.*member = value; });
  };
  flag("light", &methods::ReconstructionOptions::light);
  flag("skips", &methods::ReconstructionOptions::skips);
  flag("scored_all", &methods::ReconstructionOptions::scored_all);
  type.def_property(
      "distance", [](const Options& options) { return options.reconstruction.distance == Distance::kL1 ? "l1" : "mse"; },
      [](Options& options, const std::string& given) {
        options.reconstruction.distance = choice(given, Choices<Distance>{{"l1", Distance::kL1}, {"mse", Distance::kMse}}, "loss");
      });
  type.def_property(
      "seed", [](const Options& options) { return options.reconstruction.seed; },
      [](Options& options, std::uint64_t seed) { options.reconstruction.seed = seed; });
  return type;
}

void bind_reconstruction(py::module_& m) {
  using methods::AutoencoderOptions, methods::InpaintingOptions, methods::CrossSequenceOptions, methods::SimMimOptions, methods::Fill;
  py::class_<methods::Reconstruction, methods::Pretext, std::shared_ptr<methods::Reconstruction>>(m, "Reconstruction")
      .def("reconstruct", &methods::Reconstruction::reconstruct, py::arg("dense"), py::call_guard<py::gil_scoped_release>());

  bind_decoder_options<AutoencoderOptions>(m, "AutoencoderOptions", "Of the auto-encoder (methods/autoencoder.h).")
      .def_readwrite("noise", &AutoencoderOptions::noise);
  bind_restoring<methods::Autoencoder, AutoencoderOptions>(m, "Autoencoder");

  const Choices<Fill> fills{{"noise", Fill::kNoise}, {"mean", Fill::kMean}, {"zeros", Fill::kZeros}};
  auto inpainting = bind_decoder_options<InpaintingOptions>(m, "InpaintingOptions", "Of hidden boxes (methods/inpainting.h).");
  inpainting.def_readwrite("boxes", &InpaintingOptions::boxes)
      .def_readwrite("size", &InpaintingOptions::size)
      .def_readwrite("p_outer", &InpaintingOptions::p_outer)
      .def_readwrite("outer_size", &InpaintingOptions::outer_size);
  def_choice(inpainting, "fill", &InpaintingOptions::fill, fills);
  bind_restoring<methods::Inpainting, InpaintingOptions>(m, "Inpainting");

  auto sequences = bind_decoder_options<CrossSequenceOptions>(m, "CrossSequenceOptions", "Of hidden sequences (methods/inpainting.h).");
  sequences.def_readwrite("hidden", &CrossSequenceOptions::hidden);
  def_choice(sequences, "fill", &CrossSequenceOptions::fill, fills);
  bind_restoring<methods::CrossSequence, CrossSequenceOptions>(m, "CrossSequence");

  bind_decoder_options<SimMimOptions>(m, "SimMimOptions", "Of SimMIM (methods/simmim.h).")
      .def_readwrite("mask_cell", &SimMimOptions::mask_cell)
      .def_readwrite("ratio", &SimMimOptions::ratio)
      .def_readwrite("learned_fill", &SimMimOptions::learned_fill)
      .def_readwrite("norm_target", &SimMimOptions::norm_target);
  bind_restoring<methods::SimMim, SimMimOptions>(m, "SimMim");

  using methods::SparkOptions;
  bind_options<SparkOptions>(m, "SparkOptions", "Of SparK (methods/spark.h).")
      .def_readwrite("ratio", &SparkOptions::ratio)
      .def_readwrite("norm_target", &SparkOptions::norm_target)
      .def_readwrite("scored_all", &SparkOptions::scored_all)
      .def_readwrite("seed", &SparkOptions::seed);
  bind_restoring<methods::Spark, SparkOptions>(m, "Spark");
}

}  // namespace

void bind_pretext(py::module_& m) {
  py::class_<methods::Pretext, methods::Objective, std::shared_ptr<methods::Pretext>>(m, "Pretext")
      .def(
          "exercise",
          [](const methods::Pretext& self, const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) {
            const py::gil_scoped_release release;
            auto out = self.exercise(dense, sample_ids, step);
            return std::make_pair(out.input, out.answer.defined() ? std::optional<at::Tensor>(out.answer) : std::nullopt);
          },
          py::arg("dense"), py::arg("sample_ids"), py::arg("step") = 0)
      .def(
          "forward_dense",
          [](const methods::Pretext& self, const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) {
            const py::gil_scoped_release release;
            const auto out = self.forward_dense(dense, sample_ids, step);
            return std::make_tuple(out.total, out.weight, std::map<std::string, at::Tensor>(out.parts.begin(), out.parts.end()), out.features);
          },
          py::arg("dense"), py::arg("sample_ids"), py::arg("step") = 0);
  bind_puzzles(m);
  bind_reconstruction(m);
}

}  // namespace sslmed::bindings
