#include "bindings/mirror.h"
#include "methods/ijepa.h"
#include "methods/mae.h"
#include "methods/supervised.h"

namespace sslmed::bindings {

using methods::IJepa;
using methods::Mae;
using methods::Supervised;
using methods::SupervisedOptions;
using nn::VisionTransformer;

namespace {

methods::Readout readout_of(const std::string& name) {
  if (name == "mean") return methods::Readout::kMean;
  if (name == "cls") return methods::Readout::kClassToken;
  if (name == "attentive") return methods::Readout::kAttentive;
  TORCH_CHECK_VALUE(false, "readout must be 'mean', 'cls' or 'attentive', got '", name, "'");
}

methods::Tuned tuned_of(const std::string& name) {
  if (name == "encoder") return methods::Tuned::kEncoder;
  if (name == "adapters") return methods::Tuned::kAdapters;
  if (name == "nothing") return methods::Tuned::kNothing;
  TORCH_CHECK_VALUE(false, "tuned must be 'encoder', 'adapters' or 'nothing', got '", name, "'");
}

void bind_supervised(py::module_& m) {
  py::class_<Supervised, methods::Objective, std::shared_ptr<Supervised>> task(m, "Supervised");
  task.def(py::init([](std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<data::Recipe> recipe, const std::string& target, std::int64_t classes,
                       std::vector<double> class_weights, double label_smoothing, double mean, double scale, const std::string& readout,
                       std::int64_t readout_heads, const std::string& tuned, double layer_decay, double drop_path, std::int64_t groups, double group_step,
                       std::int64_t domains, double domain_weight, std::uint64_t seed) {
             SupervisedOptions options;
             options.target = target;
             options.classes = classes;
             options.class_weights = std::move(class_weights);
             options.label_smoothing = label_smoothing;
             options.mean = mean;
             options.scale = scale;
             options.readout = readout_of(readout);
             options.readout_heads = readout_heads;
             options.tuned = tuned_of(tuned);
             options.layer_decay = layer_decay;
             options.drop_path = drop_path;
             options.groups = groups;
             options.group_step = group_step;
             options.domains = domains;
             options.domain_weight = domain_weight;
             options.seed = seed;
             options.recipe = std::move(recipe);
             return std::make_shared<Supervised>(std::move(encoder), options);
           }),
           py::kw_only(), py::arg("encoder"), py::arg("recipe"), py::arg("target"), py::arg("classes"), py::arg("class_weights"), py::arg("label_smoothing"),
           py::arg("mean"), py::arg("scale"), py::arg("readout"), py::arg("readout_heads"), py::arg("tuned"), py::arg("layer_decay"), py::arg("drop_path"),
           py::arg("groups") = 0, py::arg("group_step") = 0.01, py::arg("domains") = 0, py::arg("domain_weight") = 0.1, py::arg("seed") = 0)
      .def(
          "forward_tokens",
          [](const Supervised& self, const at::Tensor& values, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra,
             const std::vector<std::int64_t>& lengths, const std::optional<at::Tensor>& keep) {
            const py::gil_scoped_release release;
            return self.forward(tokens(values, coords, extra, lengths), keep.value_or(at::Tensor()));
          },
          py::arg("values"), py::arg("coords"), py::arg("extra"), py::arg("lengths"), py::arg("keep") = py::none())
      .def(
          "loss",
          [](Supervised& self, const data::Batch& batch, std::int64_t step, std::int64_t total) {
            const py::gil_scoped_release release;
            return self.loss(batch, {step, total}).total;
          },
          py::arg("batch"), py::arg("step") = 0, py::arg("total") = 0);
  mirror(task);
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
          "(names, factor of the learning rate, whether weights decay) of each group that the optimiser takes.");
  bind_supervised(m);
  py::class_<Mae, methods::Objective, std::shared_ptr<Mae>> mae(m, "Mae");
  mae.def(py::init([](std::shared_ptr<VisionTransformer> encoder, std::shared_ptr<data::Recipe> recipe, std::int64_t decoder_dim, std::int64_t decoder_depth,
                      std::int64_t decoder_heads, const std::string& target, std::int64_t target_bins, bool norm_target, std::uint64_t seed) {
            TORCH_CHECK_VALUE(target == "signal" || target == "spectrum", "target must be 'signal' or 'spectrum', got '", target, "'");
            methods::MaeOptions options{
                decoder_dim, decoder_depth, decoder_heads,    target == "signal" ? methods::Target::kSignal : methods::Target::kSpectrum,
                target_bins, norm_target,   std::move(recipe)};
            return std::make_shared<Mae>(std::move(encoder), options, seed);
          }),
          py::arg("encoder"), py::arg("recipe"), py::arg("decoder_dim"), py::arg("decoder_depth"), py::arg("decoder_heads"), py::arg("target") = "signal",
          py::arg("target_bins") = 1, py::arg("norm_target") = true, py::arg("seed") = 0)
      .def(
          "forward_dense",
          [](const Mae& self, const at::Tensor& dense, const at::Tensor& keep, const at::Tensor& masked) {
            const py::gil_scoped_release release;
            auto out = self.forward_dense(dense, keep, masked);
            return std::make_tuple(out.loss, out.pred, out.latent);
          },
          py::arg("dense"), py::arg("keep"), py::arg("masked"))
      .def(
          "forward_tokens",
          [](const Mae& self, const at::Tensor& values, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra,
             const std::vector<std::int64_t>& lengths, const at::Tensor& keep, const at::Tensor& masked, const std::vector<std::int64_t>& keep_lengths) {
            const py::gil_scoped_release release;
            auto out = self.forward(tokens(values, coords, extra, lengths), keep, masked, keep_lengths);
            return std::make_tuple(out.loss, out.pred, out.latent);
          },
          py::arg("values"), py::arg("coords"), py::arg("extra"), py::arg("lengths"), py::arg("keep"), py::arg("masked"), py::arg("keep_lengths"));
  mirror(mae);

  py::class_<IJepa, methods::Objective, std::shared_ptr<IJepa>> ijepa(m, "IJepa");
  ijepa
      .def(py::init([](std::shared_ptr<VisionTransformer> encoder, std::shared_ptr<data::Recipe> recipe, std::int64_t predictor_dim,
                       std::int64_t predictor_depth, std::int64_t predictor_heads, double ema_start, double ema_end, bool cut_contexts, std::uint64_t seed) {
             methods::IJepaOptions options{predictor_dim, predictor_depth, predictor_heads, ema_start, ema_end, std::move(recipe), cut_contexts};
             return std::make_shared<IJepa>(std::move(encoder), options, seed);
           }),
           py::arg("encoder"), py::arg("recipe"), py::arg("predictor_dim") = 384, py::arg("predictor_depth") = 6, py::arg("predictor_heads") = 0,
           py::arg("ema_start") = 0.996, py::arg("ema_end") = 1.0, py::arg("cut_contexts") = false, py::arg("seed") = 0)
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
          [](const IJepa& self, const at::Tensor& values, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra,
             const std::vector<std::int64_t>& lengths, const at::Tensor& context, const at::Tensor& targets, const std::vector<std::int64_t>& context_lengths,
             const std::vector<std::int64_t>& block_lengths) {
            const py::gil_scoped_release release;
            auto out = self.forward(tokens(values, coords, extra, lengths), context, targets, context_lengths, block_lengths);
            return std::make_tuple(out.loss, out.pred, out.target);
          },
          py::arg("values"), py::arg("coords"), py::arg("extra"), py::arg("lengths"), py::arg("context"), py::arg("targets"), py::arg("context_lengths"),
          py::arg("block_lengths"))
      .def(
          "after_step", [](IJepa& self, std::int64_t step, std::int64_t total) { self.after_step({step, total}); }, py::arg("step"), py::arg("total"),
          "Moves the target encoder, as the training loop does after every step.");
  mirror(ijepa);
}

}  // namespace sslmed::bindings
