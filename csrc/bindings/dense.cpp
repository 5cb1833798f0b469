#include "bindings/mirror.h"
#include "nn/dense_encoder.h"
#include "nn/models.h"

namespace sslmed::bindings {

void bind_dense(py::module_& m) {
  using nn::DenseEncoder;
  py::class_<DenseEncoder, nn::Encoder, std::shared_ptr<DenseEncoder>> type(m, "DenseEncoder", "An encoder over dense inputs [B, C, spatial…].");
  type.def("forward", &DenseEncoder::forward, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def("forward_features", &DenseEncoder::forward_features, py::arg("dense"), py::call_guard<py::gil_scoped_release>())
      .def(
          "forward_dense",
          [](const DenseEncoder& self, const at::Tensor& dense, const std::optional<std::shared_ptr<nn::Comm>>& comm,
             const std::optional<at::Tensor>& drop_path, const std::optional<at::Tensor>& visible) {
            nn::Context context;
            if (comm && *comm) context.comm = comm->get();
            if (drop_path) context.drop_path = *drop_path;
            if (visible) context.visible = *visible;
            const auto out = self.forward_view(nn::DenseInput{dense, {}}, context);
            return std::make_tuple(out.tokens, out.pooled, out.lengths, out.pyramid);
          },
          py::arg("dense"), py::arg("comm") = py::none(), py::arg("drop_path") = py::none(), py::arg("visible") = py::none(),
          py::call_guard<py::gil_scoped_release>(), "(tokens, pooled, lengths, pyramid)")
      .def_property_readonly("depth", [](const DenseEncoder& self) { return self.shape().depth; })
      .def_property_readonly("widths", &DenseEncoder::widths)
      .def_property_readonly("strides", &DenseEncoder::strides)
      .def_property_readonly("min_size", &DenseEncoder::min_size);
  mirror(type);
  m.def(
      "create_dense",
      [](const std::string& name, std::int64_t rank, std::int64_t in_chans, std::int64_t num_classes, std::vector<double> pixel_mean,
         std::vector<double> pixel_std, std::uint64_t seed, std::map<std::string, nn::OptionValue> options) {
        return nn::create_dense({name, rank, in_chans, num_classes, std::move(pixel_mean), std::move(pixel_std), seed, std::move(options)});
      },
      py::arg("name"), py::kw_only(), py::arg("rank") = 2, py::arg("in_chans") = 3, py::arg("num_classes") = 0, py::arg("pixel_mean") = std::vector<double>(),
      py::arg("pixel_std") = std::vector<double>(), py::arg("seed") = 0, py::arg("options") = std::map<std::string, nn::OptionValue>());
  m.def("dense_names", &nn::dense_names, "Names that create_dense takes.");
}

}  // namespace sslmed::bindings
