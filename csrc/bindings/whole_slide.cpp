// Whole slides: tiles that are read ahead, predictions blended into bands, polygons as label maps and label maps as outlines.

#include <ATen/Functions.h>

#include <cstring>

#include "bindings/options.h"
#include "bindings/polygons.h"
#include "modalities/picture/slide_tiles.h"
#include "nn/band_blend.h"
#include "transforms/outlines.h"

namespace sslmed::bindings {
namespace {

using picture::SlideTiles;
using transforms::Outliner;

void bind_slide_tiles(py::module_& m) {
  py::class_<SlideTiles>(m, "SlideTiles", "Tiles of a slide, read ahead by threads (modalities/picture/slide_tiles.h).")
      .def(py::init([](std::shared_ptr<io::Slide> slide, const std::vector<std::array<double, 2>>& corners, const std::array<double, 2>& pixel,
                       std::int64_t size, unsigned threads, std::uint64_t ahead) {
             return std::make_unique<SlideTiles>(std::move(slide), corners, picture::SlideTilesOptions{pixel, size, threads, ahead});
           }),
           py::arg("slide"), py::arg("corners"), py::kw_only(), py::arg("pixel"), py::arg("size"), py::arg("threads"), py::arg("ahead"),
           "corners: (x, y) of each tile in pixels of level 0; pixel: how many of those one of a tile is wide and high.")
      .def("__len__", &SlideTiles::size)
      .def(
          "next",
          [](SlideTiles& tiles, std::int64_t count) {
            const py::gil_scoped_release release;
            const auto side = tiles.side(), bytes = 3 * side * side;
            auto out = at::empty({count, 3, side, side}, at::kByte);
            std::int64_t n = 0;
            for (; n < count; ++n) {
              const auto tile = tiles.next();
              if (!tile) break;
              std::memcpy(out.data_ptr<std::uint8_t>() + n * bytes, tile->data(), tile->size());
            }
            return n == count ? out : out.narrow(0, 0, n);
          },
          py::arg("count"), "The next tiles, uint8 [at most count, 3, size, size]; none after the last one.");
}

void bind_band_blend(py::module_& m) {
  using nn::BandBlend;
  using nn::BandBlendOptions;
  using nn::BandExtra;
  using nn::WindowConvention;
  using nn::WindowWeights;
  auto bound = bind_options<BandBlendOptions>(m, "BandBlendOptions", "Of predictions that are blended into bands (nn/band_blend.h).");
  bound.def_readwrite("height", &BandBlendOptions::height)
      .def_readwrite("width", &BandBlendOptions::width)
      .def_readwrite("tile", &BandBlendOptions::tile)
      .def_readwrite("rows", &BandBlendOptions::rows)
      .def_readwrite("outside", &BandBlendOptions::outside);
  def_choice(bound, "mode", &BandBlendOptions::weights, Choices<WindowWeights>{{"gaussian", WindowWeights::kGaussian}, {"constant", WindowWeights::kConstant}});
  def_choice(bound, "convention", &BandBlendOptions::convention,
             Choices<WindowConvention>{{"monai", WindowConvention::kMonai}, {"nnunet", WindowConvention::kNnunet}});
  def_choice(bound, "extra", &BandBlendOptions::extra,
             Choices<BandExtra>{{"none", BandExtra::kNone}, {"probabilities", BandExtra::kProbabilities}, {"uncertainty", BandExtra::kUncertainty}});
  py::class_<BandBlend>(m, "BandBlend", "Predictions of overlapping tiles, blended into bands of finished rows (nn/band_blend.h).")
      .def(py::init<BandBlendOptions>(), py::arg("options"))
      .def("add", &BandBlend::add, py::arg("prediction"), py::arg("rows"), py::arg("left"), py::call_guard<py::gil_scoped_release>(),
           "prediction [n, K, tile, tile] of tiles in these rows of tiles, at these cells of the map.")
      .def("finish", &BandBlend::finish, py::arg("classes") = 2, py::call_guard<py::gil_scoped_release>())
      .def(
          "take",
          [](BandBlend& blend) {
            std::vector<std::tuple<std::int64_t, at::Tensor, std::optional<at::Tensor>>> out;
            for (auto& band : blend.take()) out.emplace_back(band.row, band.classes, band.extra.defined() ? std::optional(band.extra) : std::nullopt);
            return out;
          },
          "Bands since the last call: (first row, classes [rows, width] uint8, extra [K or 1, rows, width] uint8 or None).");
}

void bind_outlines(py::module_& m) {
  py::class_<Outliner>(m, "Outliner", "Outlines of connected cells of a label map, row by row (transforms/outlines.h).")
      .def(py::init<std::int64_t, std::int32_t>(), py::arg("width"), py::arg("background"))
      .def(
          "add",
          [](Outliner& outliner, const at::Tensor& rows) {
            TORCH_CHECK_VALUE(rows.dim() == 2, "outlines: labels must be [rows, width], got ", rows.sizes());
            const py::gil_scoped_release release;
            const auto cells = rows.to(at::kCPU, at::kInt).contiguous();
            outliner.add(cells.const_data_ptr<std::int32_t>(), cells.size(0));
          },
          py::arg("rows"))
      .def("finish", &Outliner::finish, py::call_guard<py::gil_scoped_release>())
      .def(
          "take",
          [](Outliner& outliner) {
            std::vector<std::tuple<std::int32_t, std::int64_t, std::pair<double, double>, std::vector<at::Tensor>>> out;
            for (const auto& object : outliner.take()) {
              std::vector<at::Tensor> rings;
              for (const auto& ring : object.rings) {
                rings.push_back(at::empty({static_cast<std::int64_t>(ring.size()), 2}, at::kLong));
                std::memcpy(rings.back().data_ptr(), ring.data(), ring.size() * sizeof ring[0]);
              }
              out.emplace_back(object.value, object.area, std::pair(object.x, object.y), std::move(rings));
            }
            return out;
          },
          "Objects since the last call: (value, cells, (x, y) of the middle, rings [points, 2] int64, the outer one first).");
  m.def(
      "rasterize",
      [](const PolygonColumns& columns, const std::array<double, 2>& corner, const std::array<double, 2>& cell, at::Tensor into) {
        TORCH_CHECK_VALUE(into.dim() == 2 && into.scalar_type() == at::kInt && into.is_contiguous() && into.is_cpu(), "rasterize: into must be int32 [H, W]");
        auto polygons = polygons_of(columns);
        const py::gil_scoped_release release;
        polygons.check();
        transforms::rasterize(polygons, {corner[0], corner[1], cell, into.size(1), into.size(0)}, into.data_ptr<std::int32_t>());
        return into;
      },
      py::arg("polygons"), py::arg("corner"), py::arg("cell"), py::arg("into"), "Labels the cells whose middles are inside of polygons.");
}

}  // namespace

void bind_whole_slide(py::module_& m) {
  bind_slide_tiles(m);
  bind_band_blend(m);
  bind_outlines(m);
}

}  // namespace sslmed::bindings
