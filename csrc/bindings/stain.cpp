#include "transforms/stain.h"

#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;

void check_picture(const at::Tensor& rgb) {
  if (rgb.dim() < 2 || rgb.size(-1) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0)
    throw ValueError("expected a picture of shape [height, width, 3] in uint8");
}

// Applies f(bytes, pixels) to a copy.
template <class F>
at::Tensor changed(const at::Tensor& rgb, F&& f) {
  check_picture(rgb);
  const py::gil_scoped_release release;
  auto out = at::empty(rgb.sizes(), at::kByte).copy_(rgb);
  f(out.data_ptr<std::uint8_t>(), out.numel() / 3);
  return out;
}

template <class F>
auto measured(const at::Tensor& rgb, F&& f) {
  check_picture(rgb);
  const py::gil_scoped_release release;
  const auto pixels = rgb.to(at::kCPU).contiguous();
  return f(pixels.const_data_ptr<std::uint8_t>(), pixels.numel() / 3);
}

}  // namespace

void bind_stain(py::module_& m) {
  py::class_<Stains>(m, "Stains", "Two stains of a picture (sslmed.stain.macenko_fit).")
      .def(py::init<std::array<std::array<double, 3>, 2>, std::array<double, 2>>(), py::arg("vectors"), py::arg("most"))
      .def_readonly("vectors", &Stains::vectors, "Densities in R, G and B of a unit of each, of length 1; haematoxylin first.")
      .def_readonly("most", &Stains::most, "99th percentile of their densities.");
  py::class_<LabMoments>(m, "LabMoments", "Means and spreads of a picture's colours (sslmed.stain.reinhard_fit).")
      .def(py::init<std::array<double, 3>, std::array<double, 3>>(), py::arg("mean"), py::arg("spread"))
      .def_readonly("mean", &LabMoments::mean, "Of L*, a* and b*.")
      .def_readonly("spread", &LabMoments::spread, "Of L*, a* and b*.");
  m.def(
      "hed_jitter",
      [](const at::Tensor& rgb, const std::array<double, 3>& scale, const std::array<double, 3>& shift) {
        return changed(rgb, [&](std::uint8_t* at, std::int64_t n) { hed_jitter(at, n, scale, shift); });
      },
      py::arg("rgb"), py::arg("scale"), py::arg("shift"));
  m.def(
      "macenko_fit", [](const at::Tensor& rgb) { return measured(rgb, [](const std::uint8_t* at, std::int64_t n) { return macenko_fit(at, n); }); },
      py::arg("rgb"));
  m.def(
      "macenko_transform",
      [](const at::Tensor& rgb, const Stains& source, const Stains& target, const std::array<double, 2>& scale, const std::array<double, 2>& shift,
         bool tissue_only) {
        return changed(rgb, [&](std::uint8_t* at, std::int64_t n) { macenko_transform(at, n, source, target, {scale, shift, tissue_only}); });
      },
      py::arg("rgb"), py::arg("source"), py::arg("target"), py::arg("scale"), py::arg("shift"), py::arg("tissue_only"));
  m.def(
      "reinhard_fit", [](const at::Tensor& rgb) { return measured(rgb, [](const std::uint8_t* at, std::int64_t n) { return reinhard_fit(at, n); }); },
      py::arg("rgb"));
  m.def(
      "reinhard_transform",
      [](const at::Tensor& rgb, const LabMoments& source, const LabMoments& target) {
        return changed(rgb, [&](std::uint8_t* at, std::int64_t n) { reinhard_transform(at, n, source, target); });
      },
      py::arg("rgb"), py::arg("source"), py::arg("target"));
}

}  // namespace sslmed::bindings
