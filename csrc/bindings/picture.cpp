// Functions on pictures, [height, width, 3] in uint8: colours, stains, tissue.

#include <ATen/Functions.h>

#include <algorithm>

#include "bindings/bindings.h"
#include "core/error.h"
#include "transforms/bicubic.h"
#include "transforms/colour.h"
#include "transforms/stain.h"
#include "transforms/tissue.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;

void check_picture(const at::Tensor& rgb) {
  if (rgb.dim() != 3 || rgb.size(2) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0)
    throw ValueError("expected a picture of shape [height, width, 3] in uint8");
}

// Applies f(bytes, width, height) to a copy.
template <class F>
at::Tensor changed(const at::Tensor& rgb, F&& f) {
  check_picture(rgb);
  const py::gil_scoped_release release;
  auto out = at::empty(rgb.sizes(), at::kByte).copy_(rgb);
  f(out.data_ptr<std::uint8_t>(), out.size(1), out.size(0));
  return out;
}

// f(bytes, width, height) of a picture that stays.
template <class F>
auto measured(const at::Tensor& rgb, F&& f) {
  check_picture(rgb);
  const py::gil_scoped_release release;
  const auto pixels = rgb.to(at::kCPU).contiguous();
  return f(pixels.const_data_ptr<std::uint8_t>(), pixels.size(1), pixels.size(0));
}

// A function of pixels, whatever their places, as one of pictures.
template <class... Extra>
auto pointwise(void (*f)(std::uint8_t*, std::int64_t, Extra...)) {
  return [f](const at::Tensor& rgb, std::decay_t<Extra>... extra) {
    return changed(rgb, [&](std::uint8_t* at, std::int64_t width, std::int64_t height) { f(at, width * height, extra...); });
  };
}

template <class R>
auto pointwise(R (*f)(const std::uint8_t*, std::int64_t)) {
  return [f](const at::Tensor& rgb) {
    return measured(rgb, [&](const std::uint8_t* at, std::int64_t width, std::int64_t height) { return f(at, width * height); });
  };
}

at::Tensor tissue_mask(const at::Tensor& rgb, const std::string& method, int median, int close, std::int64_t least, std::int64_t hole, bool pen, int margin,
                       double sharpness) {
  TissueOptions options{TissueMethod::kOtsu, median, close, least, hole, pen, margin, sharpness};
  if (method == "clam") {
    options.method = TissueMethod::kClam;
  } else if (method == "luminance") {
    options.method = TissueMethod::kLuminance;
  } else if (method != "otsu") {
    throw ValueError("tissue is found by 'otsu', 'clam' or 'luminance', not by '" + method + "'");
  }
  return measured(rgb, [&](const std::uint8_t* pixels, std::int64_t width, std::int64_t height) {
    const auto mask = transforms::tissue_mask(pixels, width, height, options);
    auto out = at::empty({height, width}, at::kBool);
    std::copy(mask.begin(), mask.end(), out.data_ptr<bool>());
    return out;
  });
}

}  // namespace

void bind_picture(py::module_& m) {
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
        return changed(rgb, [&](std::uint8_t* at, std::int64_t width, std::int64_t height) { gaussian_blur(at, width, height, side, sigma); });
      },
      py::arg("rgb"), py::arg("side"), py::arg("sigma"));
  m.def("flip_horizontally", [](const at::Tensor& rgb) { return changed(rgb, flip_horizontally); }, py::arg("rgb"));
  m.def("flip_vertically", [](const at::Tensor& rgb) { return changed(rgb, flip_vertically); }, py::arg("rgb"));
  m.def(
      "rotate_quarters",
      [](const at::Tensor& rgb, int turns) {
        return measured(rgb, [turns](const std::uint8_t* pixels, std::int64_t width, std::int64_t height) {
          auto out = turns % 2 != 0 ? at::empty({width, height, 3}, at::kByte) : at::empty({height, width, 3}, at::kByte);
          rotate_quarters(pixels, width, height, turns, out.data_ptr<std::uint8_t>());
          return out;
        });
      },
      py::arg("rgb"), py::arg("turns"));
  py::class_<Stains>(m, "Stains", "Two stains of a picture (sslmed.stain.macenko_fit).")
      .def(py::init<std::array<std::array<double, 3>, 2>, std::array<double, 2>>(), py::arg("vectors"), py::arg("most"))
      .def_readonly("vectors", &Stains::vectors, "Densities in R, G and B of a unit of each, of length 1; haematoxylin first.")
      .def_readonly("most", &Stains::most, "99th percentile of their densities.");
  py::class_<LabMoments>(m, "LabMoments", "Means and spreads of a picture's colours (sslmed.stain.reinhard_fit).")
      .def(py::init<std::array<double, 3>, std::array<double, 3>>(), py::arg("mean"), py::arg("spread"))
      .def_readonly("mean", &LabMoments::mean, "Of L*, a* and b*.")
      .def_readonly("spread", &LabMoments::spread, "Of L*, a* and b*.");
  m.def("hed_jitter", pointwise(&hed_jitter), py::arg("rgb"), py::arg("scale"), py::arg("shift"));
  m.def("macenko_fit", pointwise(&macenko_fit), py::arg("rgb"));
  m.def(
      "macenko_transform",
      [](const at::Tensor& rgb, const Stains& source, const Stains& target, const std::array<double, 2>& scale, const std::array<double, 2>& shift,
         bool tissue_only) {
        return changed(rgb, [&](std::uint8_t* at, std::int64_t width, std::int64_t height) {
          macenko_transform(at, width * height, source, target, {scale, shift, tissue_only});
        });
      },
      py::arg("rgb"), py::arg("source"), py::arg("target"), py::arg("scale"), py::arg("shift"), py::arg("tissue_only"));
  m.def("reinhard_fit", pointwise(&reinhard_fit), py::arg("rgb"));
  m.def("reinhard_transform", pointwise(&reinhard_transform), py::arg("rgb"), py::arg("source"), py::arg("target"));
  m.def("tissue_mask", &tissue_mask, py::arg("rgb"), py::arg("method"), py::arg("median"), py::arg("close"), py::arg("least"), py::arg("hole"), py::arg("pen"),
        py::arg("margin"), py::arg("sharpness"));
}

}  // namespace sslmed::bindings
