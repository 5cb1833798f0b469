#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "methods/mae.h"
#include "nn/batch_norm.h"
#include "nn/vit.h"

namespace sslmed::bindings {
namespace {

using methods::Mae;
using nn::VisionTransformer;

nn::Positions positions_of(const std::string& name) {
  if (name == "learned") return nn::Positions::kLearned;
  if (name == "sincos") return nn::Positions::kSinCos;
  if (name == "electrode") return nn::Positions::kElectrode;
  TORCH_CHECK_VALUE(false, "positions must be 'learned', 'sincos' or 'electrode', got '", name, "'");
}

data::MaskMode mask_of(const std::string& name) {
  if (name == "none") return data::MaskMode::kNone;
  if (name == "random") return data::MaskMode::kRandom;
  if (name == "time") return data::MaskMode::kTime;
  if (name == "channel") return data::MaskMode::kChannel;
  TORCH_CHECK_VALUE(false, "mask must be 'none', 'random', 'time' or 'channel', got '", name, "'");
}

// What a Python mirror needs of any module: its leaves by name, and a way to replace a buffer's contents.
template <class Module, class... Extra>
void mirror(py::class_<Module, Extra...>& type) {
  type.def("named_parameters",
           [](const Module& module) {
             std::vector<std::pair<std::string, at::Tensor>> out;
             for (const auto& item : module.named_parameters()) out.emplace_back(item.key(), item.value());
             return out;
           })
      .def("named_buffers",
           [](const Module& module) {
             std::vector<std::pair<std::string, at::Tensor>> out;
             for (const auto& item : module.named_buffers()) out.emplace_back(item.key(), item.value());
             return out;
           })
      .def(
          "set_buffer",
          [](Module& module, const std::string& name, const at::Tensor& value) {
            auto buffers = module.named_buffers();
            auto* buffer = buffers.find(name);
            TORCH_CHECK_INDEX(buffer != nullptr, "no buffer '", name, "'");
            buffer->set_data(value);
          },
          py::arg("name"), py::arg("value"))
      .def("train", [](Module& module, bool on) { module.train(on); }, py::arg("mode"));
}

nn::PatchTokens tokens(const at::Tensor& values, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra,
                       const std::vector<std::int64_t>& lengths) {
  nn::PatchTokens out;
  out.values = values;
  if (coords) out.coords = *coords;
  if (extra) out.channel = *extra;
  out.lengths = lengths;
  std::int64_t rows = 0;
  for (const auto length : lengths) rows += length;
  TORCH_CHECK_VALUE(values.dim() == 2 && values.size(0) == rows, "lengths sum to ", rows, " but values are ", values.sizes());
  TORCH_CHECK_VALUE(!coords || (coords->dim() == 2 && coords->size(0) == rows && coords->size(1) == 4), "coords must be [", rows, ", 4]");
  TORCH_CHECK_VALUE(!extra || (extra->dim() == 1 && extra->size(0) == rows), "extra must be [", rows, "]");
  return out;
}

}  // namespace

void bind_nn(py::module_& m) {
  py::class_<VisionTransformer, std::shared_ptr<VisionTransformer>> vit(m, "VisionTransformer");
  vit.def(py::init([](const std::string& name, std::vector<std::int64_t> patch_size, std::vector<std::int64_t> img_size, std::int64_t in_chans,
                      std::int64_t num_classes, const std::string& positions, std::int64_t extra_channels, std::uint64_t seed, std::optional<std::int64_t> dim,
                      std::optional<std::int64_t> depth, std::optional<std::int64_t> heads) {
            auto config = nn::named_vit(name);
            config.patch_size = std::move(patch_size);
            config.img_size = std::move(img_size);
            config.in_chans = in_chans;
            config.num_classes = num_classes;
            config.positions = positions_of(positions);
            config.extra_channels = extra_channels;
            config.dim = dim.value_or(config.dim);
            config.depth = depth.value_or(config.depth);
            config.heads = heads.value_or(config.heads);
            return std::make_shared<VisionTransformer>(config, seed);
          }),
          py::arg("name"), py::arg("patch_size"), py::arg("img_size"), py::arg("in_chans"), py::arg("num_classes") = 0, py::arg("positions") = "learned",
          py::arg("extra_channels") = 0, py::arg("seed") = 0, py::arg("dim") = py::none(), py::arg("depth") = py::none(), py::arg("heads") = py::none())
      .def_property_readonly("dim", [](const VisionTransformer& v) { return v.config().dim; })
      .def_property_readonly("patch_values", [](const VisionTransformer& v) { return v.config().patch_values(); })
      .def("forward", &VisionTransformer::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def("forward_features", &VisionTransformer::forward_features, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def(
          "forward_tokens",
          [](const VisionTransformer& v, const at::Tensor& values, const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra,
             const std::vector<std::int64_t>& lengths) {
            const py::gil_scoped_release release;
            auto out = v.forward_tokens(tokens(values, coords, extra, lengths));
            return std::make_tuple(out.tokens, out.pooled, out.lengths);
          },
          py::arg("values"), py::arg("coords"), py::arg("extra"), py::arg("lengths"));
  mirror(vit);

  py::class_<nn::Comm, std::shared_ptr<nn::Comm>>(m, "Comm", "The ranks of a run, for layers and losses.")
      .def("all_gather", &nn::Comm::all_gather, py::arg("rows"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("rank", &nn::Comm::rank)
      .def_property_readonly("size", &nn::Comm::size);
  py::class_<nn::BatchNorm, std::shared_ptr<nn::BatchNorm>> batch_norm(m, "BatchNorm");
  batch_norm.def(py::init<std::int64_t, double, double>(), py::arg("channels"), py::arg("eps") = 1e-5, py::arg("momentum") = 0.1)
      .def(
          "forward",
          [](nn::BatchNorm& self, const at::Tensor& x, const std::optional<std::shared_ptr<nn::Comm>>& comm) {
            return self.forward(x, comm && *comm ? **comm : nn::Comm::alone());
          },
          py::arg("x"), py::arg("comm") = py::none(), py::call_guard<py::gil_scoped_release>());
  mirror(batch_norm);

  py::class_<methods::Objective, std::shared_ptr<methods::Objective>>(m, "Objective");
  py::class_<Mae, methods::Objective, std::shared_ptr<Mae>> mae(m, "Mae");
  mae.def(py::init([](std::shared_ptr<VisionTransformer> encoder, std::int64_t decoder_dim, std::int64_t decoder_depth, std::int64_t decoder_heads,
                      const std::string& target, std::int64_t target_bins, bool norm_target, const std::string& mask, double ratio, std::int32_t block,
                      std::uint64_t seed) {
            TORCH_CHECK_VALUE(target == "signal" || target == "spectrum", "target must be 'signal' or 'spectrum', got '", target, "'");
            methods::MaeOptions options{
                decoder_dim, decoder_depth, decoder_heads, target == "signal" ? methods::Target::kSignal : methods::Target::kSpectrum, target_bins, norm_target,
                {}};
            options.recipe = {encoder->config().patch_size.back(), mask_of(mask), ratio, block};
            return std::make_shared<Mae>(std::move(encoder), options, seed);
          }),
          py::arg("encoder"), py::arg("decoder_dim"), py::arg("decoder_depth"), py::arg("decoder_heads"), py::arg("target") = "signal",
          py::arg("target_bins") = 1, py::arg("norm_target") = true, py::arg("mask") = "random", py::arg("ratio") = 0.75, py::arg("block") = 2,
          py::arg("seed") = 0)
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
  py::class_<data::Recipe, std::shared_ptr<data::Recipe>>(m, "Recipe");
  py::class_<data::PatchRecipe, data::Recipe, std::shared_ptr<data::PatchRecipe>>(m, "PatchRecipe")
      .def(py::init([](std::int64_t patch, const std::string& mask, double ratio, std::int32_t block) {
             return std::make_shared<data::PatchRecipe>(data::PatchRecipeOptions{patch, mask_of(mask), ratio, block});
           }),
           py::arg("patch"), py::arg("mask") = "none", py::arg("ratio") = 0.5, py::arg("block") = 2);
}

}  // namespace sslmed::bindings
