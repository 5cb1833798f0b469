#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "transforms/bicubic.h"
#include "transforms/colour.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;

void check_rgb(const at::Tensor& rgb) {
  if (rgb.dim() != 3 || rgb.size(2) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0)
    throw ValueError("expected a picture of shape [height, width, 3] in uint8");
}

// Applies f(bytes, width, height) to a copy.
template <class F>
at::Tensor changed_copy(const at::Tensor& rgb, F&& f) {
  check_rgb(rgb);
  const py::gil_scoped_release release;
  auto out = at::empty(rgb.sizes(), at::kByte).copy_(rgb);
  f(out.data_ptr<std::uint8_t>(), out.size(1), out.size(0));
  return out;
}

template <class... Extra>
auto pointwise(void (*f)(std::uint8_t*, std::int64_t, Extra...)) {
  return [f](const at::Tensor& rgb, Extra... extra) {
    return changed_copy(rgb, [&](std::uint8_t* at, std::int64_t width, std::int64_t height) { f(at, width * height, extra...); });
  };
}

}  // namespace

void bind_image(py::module_& m) {
  m.def(
      "resize_bicubic",
      [](const at::Tensor& image, std::int64_t height, std::int64_t width, const std::optional<std::array<double, 4>>& box) {
        if (image.dim() != 3 || image.scalar_type() != at::kByte || image.numel() == 0)
          throw ValueError("expected a picture of shape [height, width, channels] in uint8");
        const py::gil_scoped_release release;
        const auto source = image.to(at::kCPU).contiguous();
        const Box part =
            box ? Box{(*box)[0], (*box)[1], (*box)[2], (*box)[3]} : Box{0, 0, static_cast<double>(source.size(1)), static_cast<double>(source.size(0))};
        if (height < 1 || width < 1) throw ValueError("a picture has at least one pixel, asked for " + std::to_string(width) + " x " + std::to_string(height));
        auto out = at::empty({height, width, source.size(2)}, at::kByte);
        resize_bicubic(source.const_data_ptr<std::uint8_t>(), source.size(1), source.size(0), source.size(2), part, width, height,
                       out.data_ptr<std::uint8_t>());
        return out;
      },
      py::arg("image"), py::arg("height"), py::arg("width"), py::arg("box") = py::none());
  m.def("adjust_brightness", pointwise(&adjust_brightness), py::arg("rgb"), py::arg("factor"));
  m.def("adjust_contrast", pointwise(&adjust_contrast), py::arg("rgb"), py::arg("factor"));
  m.def("adjust_saturation", pointwise(&adjust_saturation), py::arg("rgb"), py::arg("factor"));
  m.def("adjust_hue", pointwise(&adjust_hue), py::arg("rgb"), py::arg("turn"));
  m.def("to_grey", pointwise(&to_grey), py::arg("rgb"));
  m.def("solarise", pointwise(&solarise), py::arg("rgb"), py::arg("threshold"));
  m.def(
      "gaussian_blur",
      [](const at::Tensor& rgb, int side, double sigma) {
        return changed_copy(rgb, [&](std::uint8_t* at, std::int64_t width, std::int64_t height) { gaussian_blur(at, width, height, side, sigma); });
      },
      py::arg("rgb"), py::arg("side"), py::arg("sigma"));
  m.def("flip_horizontally", [](const at::Tensor& rgb) { return changed_copy(rgb, flip_horizontally); }, py::arg("rgb"));
  m.def("flip_vertically", [](const at::Tensor& rgb) { return changed_copy(rgb, flip_vertically); }, py::arg("rgb"));
  m.def(
      "rotate_quarters",
      [](const at::Tensor& rgb, int turns) {
        check_rgb(rgb);
        const py::gil_scoped_release release;
        const auto source = rgb.to(at::kCPU).contiguous();
        const bool swapped = turns % 2 != 0;
        auto out = at::empty({source.size(swapped ? 1 : 0), source.size(swapped ? 0 : 1), 3}, at::kByte);
        rotate_quarters(source.const_data_ptr<std::uint8_t>(), source.size(1), source.size(0), turns, out.data_ptr<std::uint8_t>());
        return out;
      },
      py::arg("rgb"), py::arg("turns"));
}

}  // namespace sslmed::bindings
