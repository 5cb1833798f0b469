#include "bindings/mirror.h"
#include "bindings/options.h"
#include "methods/ijepa.h"
#include "methods/mae.h"

namespace sslmed::bindings {
namespace {

using methods::IJepa;
using methods::IJepaOptions;
using methods::Mae;
using methods::MaeOptions;
using nn::VisionTransformer;

void bind_mae(py::module_& m) {
  auto bound = bind_options<MaeOptions>(m, "MaeOptions", "Of the decoder (methods/mae.h).");
  bound.def_readwrite("decoder_dim", &MaeOptions::decoder_dim)
      .def_readwrite("decoder_depth", &MaeOptions::decoder_depth)
      .def_readwrite("decoder_heads", &MaeOptions::decoder_heads)
      .def_readwrite("reconstruct_bins", &MaeOptions::reconstruct_bins)
      .def_readwrite("norm_target", &MaeOptions::norm_target)
      .def_readwrite("seed", &MaeOptions::seed);
  using methods::Reconstruct;
  def_choice(bound, "reconstruct", &MaeOptions::reconstruct, Choices<Reconstruct>{{"signal", Reconstruct::kSignal}, {"spectrum", Reconstruct::kSpectrum}});
  py::class_<Mae, methods::Objective, std::shared_ptr<Mae>> mae(m, "Mae");
  mae.def(py::init([](std::shared_ptr<VisionTransformer> encoder, const MaeOptions& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
            return std::make_shared<Mae>(std::move(encoder), options, recipe.value_or(nullptr));
          }),
          py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none())
      .def(
          "forward_dense",
          [](const Mae& self, const at::Tensor& dense, const at::Tensor& visible, const at::Tensor& masked) {
            const py::gil_scoped_release release;
            auto out = self.forward_dense(dense, visible, masked);
            return std::make_tuple(out.loss, out.pred, out.latent);
          },
          py::arg("dense"), py::arg("visible"), py::arg("masked"))
      .def(
          "forward_tokens",
          [](const Mae& self, const at::Tensor& values, const nn::Lengths& lengths, const at::Tensor& visible, const at::Tensor& masked,
             const nn::Lengths& visible_lengths, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra) {
            const py::gil_scoped_release release;
            TORCH_CHECK_VALUE(visible_lengths.size() == lengths.size(), "visible_lengths has ", visible_lengths.size(), " entries, expected ", lengths.size());
            nn::Lengths hidden = lengths;
            for (std::size_t b = 0; b < hidden.size(); ++b) hidden[b] -= visible_lengths[b];
            TORCH_CHECK_VALUE(masked.dim() == 1 && visible.dim() == 1 && visible.size(0) + masked.size(0) == values.size(0),
                              "visible and masked must share the ", values.size(0), " rows of values, got ", visible.sizes(), " and ", masked.sizes());
            auto out = self.forward(tokens(nullptr, values, lengths, coords, extra), visible, masked, visible_lengths, hidden);
            return std::make_tuple(out.loss, out.pred, out.latent);
          },
          py::arg("values"), py::arg("lengths"), py::arg("visible"), py::arg("masked"), py::arg("visible_lengths"), py::arg("coords") = py::none(),
          py::arg("extra") = py::none());
  mirror(mae);
}

void bind_ijepa(py::module_& m) {
  bind_options<IJepaOptions>(m, "IJepaOptions", "Of the predictor and the averaged encoder (methods/ijepa.h).")
      .def_readwrite("predictor_dim", &IJepaOptions::predictor_dim)
      .def_readwrite("predictor_depth", &IJepaOptions::predictor_depth)
      .def_readwrite("predictor_heads", &IJepaOptions::predictor_heads)
      .def_readwrite("ema_start", &IJepaOptions::ema_start)
      .def_readwrite("ema_end", &IJepaOptions::ema_end)
      .def_readwrite("cut_contexts", &IJepaOptions::cut_contexts)
      .def_readwrite("seed", &IJepaOptions::seed);
  py::class_<IJepa, methods::Objective, std::shared_ptr<IJepa>> ijepa(m, "IJepa");
  ijepa
      .def(py::init([](std::shared_ptr<VisionTransformer> encoder, const IJepaOptions& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<IJepa>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none())
      .def(
          "forward_dense",
          [](const IJepa& self, const at::Tensor& dense, const at::Tensor& context, const at::Tensor& targets) {
            const py::gil_scoped_release release;
            auto out = self.forward_dense(dense, context, targets);
            return std::make_tuple(out.loss, out.pred, out.target);
          },
          py::arg("dense"), py::arg("context"), py::arg("targets"))
      .def(
          "forward_tokens",
          [](const IJepa& self, const at::Tensor& values, const nn::Lengths& lengths, const at::Tensor& context, const at::Tensor& targets,
             const nn::Lengths& context_lengths, const nn::Lengths& block_lengths, const std::optional<at::Tensor>& coords,
             const std::optional<at::Tensor>& extra) {
            const py::gil_scoped_release release;
            auto out = self.forward(tokens(nullptr, values, lengths, coords, extra), context, targets, context_lengths, block_lengths);
            return std::make_tuple(out.loss, out.pred, out.target);
          },
          py::arg("values"), py::arg("lengths"), py::arg("context"), py::arg("targets"), py::arg("context_lengths"), py::arg("block_lengths"),
          py::arg("coords") = py::none(), py::arg("extra") = py::none());
  mirror(ijepa);
}

}  // namespace

void bind_methods(py::module_& m) {
  py::class_<methods::Objective, std::shared_ptr<methods::Objective>>(m, "Objective")
      .def(
          "parameter_groups",
          [](const methods::Objective& self) {
            std::vector<std::tuple<std::vector<std::string>, double, bool>> out;
            for (auto& group : self.parameter_groups()) out.emplace_back(group.names, group.lr_scale, group.decay);
            return out;
          },
          "(names, factor of the learning rate, whether weights decay) of each group that the optimiser takes.")
      .def(
          "loss",
          [](methods::Objective& self, const data::Batch& batch, std::int64_t step, std::int64_t total) {
            const py::gil_scoped_release release;
            return self.loss(batch, {step, total}).total;
          },
          py::arg("batch"), py::arg("step") = 0, py::arg("total") = 0)
      .def(
          "after_step", [](methods::Objective& self, std::int64_t step, std::int64_t total) { self.after_step({step, total}); }, py::arg("step"),
          py::arg("total"), "Moves what follows the encoder, as the training loop does after every step.");
  bind_mae(m);
  bind_ijepa(m);
}

}  // namespace sslmed::bindings
