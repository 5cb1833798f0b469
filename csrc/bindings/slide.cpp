#include "io/slide.h"

#include <ATen/Functions.h>

#include <cstring>

#include "bindings/bindings.h"
#include "core/error.h"
#include "io/image.h"
#include "io/jpeg.h"
#include "modalities/picture/slide_region.h"

namespace sslmed::bindings {
namespace {

using io::Slide;

constexpr std::int64_t kMostRegion = std::int64_t{1} << 31;  // pixels

at::Tensor region(const Slide& slide, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1 || width > kMostRegion / height)
    throw ValueError(slide.path() + ": a region has at least one pixel and at most 2^31, asked for " + std::to_string(width) + " x " + std::to_string(height));
  return at::empty({height, width, 3}, at::kByte);
}

void check_level(const Slide& slide, std::int64_t level) {
  if (level < 0 || level >= static_cast<std::int64_t>(slide.levels().size()))
    throw ValueError(slide.path() + ": level " + std::to_string(level) + " asked of " + std::to_string(slide.levels().size()));
}

template <class F>
auto per_level(const Slide& slide, F&& get) {
  std::vector<std::decay_t<decltype(get(slide.levels().front()))>> out;
  for (const auto& level : slide.levels()) out.push_back(get(level));
  return out;
}

at::Tensor read_image(const std::string& path, at::ScalarType dtype, const std::string& voi) {
  if (dtype != at::kByte && dtype != at::kUInt16) throw py::type_error("read_image gives uint8 or uint16");
  io::Image image;
  std::vector<std::string> salvaged;
  at::Tensor out;
  {
    const py::gil_scoped_release release;
    image = io::read_image(path, {.deep = dtype == at::kUInt16, .voi = voi}, salvaged);
    out = at::empty({image.height, image.width, image.channels}, dtype);
    if (dtype == at::kByte || image.depth == 16) {
      std::memcpy(out.data_ptr(), image.bytes.data(), image.bytes.size());
    } else {
      auto* to = out.data_ptr<std::uint16_t>();
      for (const auto value : image.bytes) *to++ = static_cast<std::uint16_t>(value * 257);
    }
  }
  for (auto& text : salvaged) text = path + ": " + text;
  warn(salvaged);
  return out;
}

}  // namespace

void bind_slide(py::module_& m) {
  py::class_<Slide, std::shared_ptr<Slide>>(m, "Slide", "An open slide (sslmed.io.open_slide).")
      .def(py::init([](const std::string& path, const std::optional<std::array<double, 2>>& mpp, bool fast, bool cached) {
             std::shared_ptr<Slide> slide;
             {
               const py::gil_scoped_release release;
               slide = std::make_shared<Slide>(path, io::SlideOptions{mpp, fast, cached ? io::shared_tile_cache() : nullptr});
             }
             warn(slide->warnings());
             return slide;
           }),
           py::arg("path"), py::arg("mpp") = py::none(), py::arg("fast") = true, py::arg("cached") = true)
      .def_property_readonly("path", &Slide::path)
      .def_property_readonly(
          "dimensions", [](const Slide& s) { return std::pair(s.levels().front().width, s.levels().front().height); }, "(width, height) of level 0.")
      .def_property_readonly("level_count", [](const Slide& s) { return s.levels().size(); })
      .def_property_readonly(
          "level_dimensions", [](const Slide& s) { return per_level(s, [](const Slide::Level& l) { return std::pair(l.width, l.height); }); },
          "(width, height) of each level.")
      .def_property_readonly(
          "level_downsamples", [](const Slide& s) { return per_level(s, [](const Slide::Level& l) { return l.downsample; }); },
          "How many pixels of level 0 one of each level stands for.")
      .def_property_readonly(
          "fast_levels", [](const Slide& s) { return per_level(s, [](const Slide::Level& l) { return l.direct.has_value(); }); },
          "Which levels are read without OpenSlide.")
      .def_property_readonly(
          "mpp", [](const Slide& s) { return s.mpp() ? std::optional(std::pair((*s.mpp())[0], (*s.mpp())[1])) : std::nullopt; },
          "µm per pixel of level 0 in x and y; None where it is not known.")
      .def_property_readonly("properties", &Slide::properties, "What OpenSlide knows of the slide.")
      .def_property_readonly("warnings", &Slide::warnings)
      .def(
          "read",
          [](const Slide& slide, std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height) {
            check_level(slide, level);
            const py::gil_scoped_release release;
            auto out = region(slide, width, height);
            slide.read(x, y, level, width, height, out.data_ptr<std::uint8_t>());
            return out;
          },
          py::arg("x"), py::arg("y"), py::arg("level"), py::arg("width"), py::arg("height"),
          "uint8 [height, width, 3] whose corner is at (x, y) of level 0; what was not scanned is white.")
      .def(
          "read_mpp",
          [](const Slide& slide, double x, double y, double mpp, std::int64_t width, std::int64_t height) {
            const py::gil_scoped_release release;
            auto out = region(slide, width, height);
            picture::read_mpp(slide, x, y, mpp, width, height, out.data_ptr<std::uint8_t>());
            return out;
          },
          py::arg("x"), py::arg("y"), py::arg("mpp"), py::arg("width"), py::arg("height"),
          "uint8 [height, width, 3] at mpp µm per pixel, whose corner is at (x, y) of level 0: exact means over area.")
      .def(
          "thumbnail_size",
          [](const Slide& slide, std::int64_t max_width, std::int64_t max_height) {
            const auto size = picture::thumbnail_size(slide, max_width, max_height);
            return std::pair(size[0], size[1]);
          },
          py::arg("max_width"), py::arg("max_height"), "(width, height) of the thumbnail that fits.")
      .def(
          "thumbnail",
          [](const Slide& slide, std::int64_t max_width, std::int64_t max_height) {
            const py::gil_scoped_release release;
            const auto [width, height] = picture::thumbnail_size(slide, max_width, max_height);
            auto out = region(slide, width, height);
            picture::read_thumbnail(slide, width, height, out.data_ptr<std::uint8_t>());
            return out;
          },
          py::arg("max_width"), py::arg("max_height"));
  m.def("read_image", &read_image, py::arg("path"), py::arg("dtype"), py::arg("voi") = "auto");
  m.def("use_openslide", &io::use_openslide, py::arg("library"));
  m.def("openslide_version", &io::openslide_version, py::call_guard<py::gil_scoped_release>());
  m.def("set_slide_cache", &io::set_slide_cache, py::arg("bytes"), py::call_guard<py::gil_scoped_release>());
  m.def("tile_cache", [] { return std::pair(io::shared_tile_cache()->bytes(), io::shared_tile_cache()->capacity()); });
  m.def("have_images", &io::have_jpeg);
}

}  // namespace sslmed::bindings
