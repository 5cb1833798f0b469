#include "bindings/mirror.h"
#include "bindings/options.h"
#include "nn/batch_norm.h"

namespace sslmed::bindings {
namespace {

using nn::EmbeddingConfig;
using nn::VisionTransformer;

void bind_embedding(py::module_& m) {
  auto config = bind_options<EmbeddingConfig>(m, "EmbeddingConfig", "How patches of one modality become tokens (nn/positions.h).");
  config.def_readwrite("modality", &EmbeddingConfig::modality)
      .def_readwrite("patch_size", &EmbeddingConfig::patch_size)
      .def_readwrite("img_size", &EmbeddingConfig::img_size)
      .def_readwrite("in_chans", &EmbeddingConfig::in_chans)
      .def_readwrite("radius", &EmbeddingConfig::radius)
      .def_readwrite("extra_channels", &EmbeddingConfig::extra_channels)
      .def_readwrite("pixel_mean", &EmbeddingConfig::pixel_mean)
      .def_readwrite("pixel_std", &EmbeddingConfig::pixel_std);
  using nn::Positions;
  def_choice(config, "positions", &EmbeddingConfig::positions,
             Choices<Positions>{
                 {"learned", Positions::kLearned}, {"sincos", Positions::kSinCos}, {"rope", Positions::kRope}, {"coordinates", Positions::kCoordinates}});
}

// (tokens, pooled, lengths, pyramid)
std::tuple<at::Tensor, at::Tensor, nn::Lengths, std::vector<at::Tensor>> told(const nn::Features& features) {
  return {features.tokens, features.pooled, features.lengths, features.pyramid};
}

}  // namespace

void bind_nn(py::module_& m) {
  bind_embedding(m);
  py::class_<nn::Comm, std::shared_ptr<nn::Comm>>(m, "Comm", "The ranks of a run, for layers and losses.")
      .def("all_gather", &nn::Comm::all_gather, py::arg("rows"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("rank", &nn::Comm::rank)
      .def_property_readonly("size", &nn::Comm::size);
  py::class_<nn::Encoder, std::shared_ptr<nn::Encoder>>(m, "Encoder").def_property_readonly("dim", [](const nn::Encoder& e) { return e.shape().dim; });
  py::class_<VisionTransformer, nn::Encoder, std::shared_ptr<VisionTransformer>> vit(m, "VisionTransformer");
  vit.def(py::init([](const std::string& name, const std::vector<EmbeddingConfig>& embeddings, std::int64_t num_classes, std::uint64_t seed,
                      std::optional<std::int64_t> dim, std::optional<std::int64_t> depth, std::optional<std::int64_t> heads, bool class_token,
                      std::int64_t lora_rank, double lora_alpha, std::int64_t registers, double layer_scale, const std::optional<std::string>& mlp,
                      std::int64_t mlp_dim, std::optional<double> norm_eps) {
            TORCH_CHECK_VALUE(!embeddings.empty(), "embeddings must hold at least one");
            auto config = nn::named_vit(name);
            const bool bias = config.embedding.bias;
            config.embedding = embeddings.front();
            config.embedding.bias = bias;
            config.more.assign(embeddings.begin() + 1, embeddings.end());
            config.num_classes = num_classes;
            config.dim = dim.value_or(config.dim);
            config.depth = depth.value_or(config.depth);
            config.heads = heads.value_or(config.heads);
            config.class_token = class_token;
            config.lora = {lora_rank, lora_alpha};
            config.registers = registers, config.layer_scale = layer_scale, config.mlp_dim = mlp_dim, config.norm_eps = norm_eps.value_or(config.norm_eps);
            if (mlp)
              config.mlp = choice(*mlp, Choices<nn::Mlp>{{"gelu", nn::Mlp::kGelu}, {"quick_gelu", nn::Mlp::kQuickGelu}, {"swiglu", nn::Mlp::kSwiGlu}}, "mlp");
            return std::make_shared<VisionTransformer>(config, seed);
          }),
          py::arg("name"), py::arg("embeddings"), py::kw_only(), py::arg("num_classes") = 0, py::arg("seed") = 0, py::arg("dim") = py::none(),
          py::arg("depth") = py::none(), py::arg("heads") = py::none(), py::arg("class_token") = true, py::arg("lora_rank") = 0, py::arg("lora_alpha") = 0.0,
          py::arg("registers") = 0, py::arg("layer_scale") = 0.0, py::arg("mlp") = py::none(), py::arg("mlp_dim") = 0, py::arg("norm_eps") = py::none())
      .def_property_readonly("prefix", &VisionTransformer::prefix)
      .def_property_readonly("grid", [](const VisionTransformer& v) { return v.config().embedding.grid(); })
      .def_property_readonly("patch_values", [](const VisionTransformer& v) { return v.config().embedding.patch_values(); })
      .def("forward", &VisionTransformer::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def("forward_features", &VisionTransformer::forward_features, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def(
          "forward_tokens",
          [](const VisionTransformer& v, const at::Tensor& values, const nn::Lengths& lengths, const std::optional<at::Tensor>& coords,
             const std::optional<at::Tensor>& extra, const std::string& modality) {
            const py::gil_scoped_release release;
            return told(v.forward_view(tokens(&v, values, lengths, coords, extra, modality)));
          },
          py::arg("values"), py::arg("lengths"), py::arg("coords") = py::none(), py::arg("extra") = py::none(), py::arg("modality") = "")
      .def(
          "forward_views",
          [](const VisionTransformer& v, const std::vector<data::ViewBatch>& views) {
            const py::gil_scoped_release release;
            std::vector<nn::PatchTokens> all;
            for (const auto& view : views) all.push_back(methods::tokens_of(view.patches("forward_views")));
            return told(v.forward_views(all));
          },
          py::arg("views"), "Views of a batch in one pass: tokens, pooled, lengths of all sequences, view after view.");
  mirror(vit);
  m.def("vit_names", &nn::vit_names, "Names of sizes of the vision transformer.");
  m.def("resample_positions", &nn::resample_positions, py::arg("table"), py::arg("grid"), py::arg("to"), py::arg("first"),
        "[1, first + cells, D] over another grid: bicubic, antialiased.");

  py::class_<nn::BatchNorm, std::shared_ptr<nn::BatchNorm>> batch_norm(m, "BatchNorm");
  batch_norm.def(py::init<std::int64_t, double, double>(), py::arg("channels"), py::arg("eps") = 1e-5, py::arg("momentum") = 0.1)
      .def(
          "forward",
          [](nn::BatchNorm& self, const at::Tensor& x, const std::optional<std::shared_ptr<nn::Comm>>& comm) {
            return self.forward(x, comm && *comm ? **comm : nn::Comm::alone());
          },
          py::arg("x"), py::arg("comm") = py::none(), py::call_guard<py::gil_scoped_release>());
  mirror(batch_norm);
}

}  // namespace sslmed::bindings
