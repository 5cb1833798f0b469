#include "bindings/mirror.h"
#include "nn/batch_norm.h"

namespace sslmed::bindings {
namespace {

using nn::VisionTransformer;

nn::Positions positions_of(const std::string& name) {
  if (name == "learned") return nn::Positions::kLearned;
  if (name == "sincos") return nn::Positions::kSinCos;
  if (name == "electrode") return nn::Positions::kElectrode;
  TORCH_CHECK_VALUE(false, "positions must be 'learned', 'sincos' or 'electrode', got '", name, "'");
}

}  // namespace

void bind_nn(py::module_& m) {
  py::class_<nn::Encoder, std::shared_ptr<nn::Encoder>>(m, "Encoder").def_property_readonly("dim", [](const nn::Encoder& e) { return e.shape().dim; });
  py::class_<VisionTransformer, nn::Encoder, std::shared_ptr<VisionTransformer>> vit(m, "VisionTransformer");
  vit.def(py::init([](const std::string& name, std::vector<std::int64_t> patch_size, std::vector<std::int64_t> img_size, std::int64_t in_chans,
                      std::int64_t num_classes, const std::string& positions, std::int64_t extra_channels, std::uint64_t seed, std::optional<std::int64_t> dim,
                      std::optional<std::int64_t> depth, std::optional<std::int64_t> heads, bool class_token, std::int64_t lora_rank, double lora_alpha,
                      std::vector<double> pixel_mean, std::vector<double> pixel_std) {
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
            config.class_token = class_token;
            config.lora = {lora_rank, lora_alpha};
            config.pixel_mean = std::move(pixel_mean);
            config.pixel_std = std::move(pixel_std);
            return std::make_shared<VisionTransformer>(config, seed);
          }),
          py::arg("name"), py::arg("patch_size"), py::arg("img_size"), py::arg("in_chans"), py::arg("num_classes") = 0, py::arg("positions") = "learned",
          py::arg("extra_channels") = 0, py::arg("seed") = 0, py::arg("dim") = py::none(), py::arg("depth") = py::none(), py::arg("heads") = py::none(),
          py::arg("class_token") = true, py::arg("lora_rank") = 0, py::arg("lora_alpha") = 0.0, py::arg("pixel_mean") = std::vector<double>{},
          py::arg("pixel_std") = std::vector<double>{})
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
}

}  // namespace sslmed::bindings
