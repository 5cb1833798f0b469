#include "data/slide_source.h"

#include "bindings/columns.h"
#include "data/picture_recipe.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::data;
using transforms::Augmentation;
using Range = std::array<double, 2>;

std::shared_ptr<SlideSource> make_source(const TextColumn& paths, const TextColumn& tissue, const TextColumn& subjects, std::vector<std::string> sites,
                                         const std::map<std::string, at::Tensor>& columns, double mpp, double mpp_high, std::int64_t size, bool random,
                                         double stride, std::size_t open, bool fast, std::map<std::string, std::vector<double>> targets) {
  const auto column = [&](const char* name) -> const at::Tensor& {
    const auto found = columns.find(name);
    if (found == columns.end()) throw ValueError(std::string("an index of slides needs a column ") + name);
    return found->second;
  };
  SlideIndex index;
  const auto n = column("cells").numel();
  index.paths = texts_of(paths, n);
  index.tissue = texts_of(tissue, n);
  index.n_subjects = static_cast<std::int32_t>(subjects.first.numel()) - 1;
  index.subjects = texts_of(subjects, index.n_subjects);
  index.sites = std::move(sites);
  for (const auto& [name, into] :
       {std::pair{"width", &index.width}, {"height", &index.height}, {"columns", &index.columns}, {"rows", &index.rows}, {"cells", &index.cells}})
    *into = numbers<std::int64_t>(column(name));
  for (const auto& [name, into] : {std::pair{"mpp_x", &index.mpp_x}, {"mpp_y", &index.mpp_y}, {"cell_x", &index.cell_x}, {"cell_y", &index.cell_y}})
    *into = numbers<double>(column(name));
  index.subject_codes = numbers<std::int32_t>(column("subject"));
  index.site_codes = numbers<std::int32_t>(column("site"));
  const py::gil_scoped_release release;
  return std::make_shared<SlideSource>(std::move(index), SlideSourceOptions{mpp, mpp_high, size, random, stride, open, fast}, std::move(targets));
}

at::Tensor picture_of(const Sample& sample) {
  auto out = at::empty(sample.shape, at::kByte);
  std::copy(sample.pixels.begin(), sample.pixels.end(), out.data_ptr<std::uint8_t>());
  return out;
}

}  // namespace

void bind_slide_source(py::module_& m) {
  m.def(
      "tissue_runs",
      [](const at::Tensor& mask) {
        if (mask.scalar_type() != at::kBool || mask.dim() != 2) throw ValueError("a mask is [rows, columns] of bool");
        const auto cells = mask.to(at::kCPU).to(at::kByte).contiguous();
        return py::bytes(tissue_runs(cells.const_data_ptr<std::uint8_t>(), cells.numel()));
      },
      py::arg("mask"), "How an index keeps a mask [rows, columns] bool.");
  m.def(
      "tissue_of_runs",
      [](const py::bytes& bytes, std::int64_t rows, std::int64_t columns) {
        std::vector<TissueRun> runs;
        read_tissue_runs(std::string_view(bytes), rows * columns, runs);
        auto out = at::zeros({rows, columns}, at::kBool);
        for (const auto& run : runs) std::fill(out.data_ptr<bool>() + run.first, out.data_ptr<bool>() + run.last, true);
        return out;
      },
      py::arg("runs"), py::arg("rows"), py::arg("columns"), "The mask [rows, columns] bool that tissue_runs() was given.");

  py::class_<Augmentation>(m, "Augmentation")
      .def(py::init([](const Range& area, const Range& aspect, bool flips, bool turns, double hed, double brightness, double contrast, double saturation,
                       double hue, double jitter, double grey, double blur, const Range& blur_sigma, double solarise) {
             const Augmentation out{area[0],    area[1], aspect[0], aspect[1], flips, turns,    hed,           brightness,   contrast,
                                    saturation, hue,     jitter,    grey,      blur,  solarise, blur_sigma[0], blur_sigma[1]};
             check(out);
             return out;
           }),
           py::kw_only(), py::arg("area"), py::arg("aspect"), py::arg("flips"), py::arg("turns"), py::arg("hed"), py::arg("brightness"), py::arg("contrast"),
           py::arg("saturation"), py::arg("hue"), py::arg("jitter"), py::arg("grey"), py::arg("blur"), py::arg("blur_sigma"), py::arg("solarise"));
  m.def(
      "augment",
      [](const at::Tensor& rgb, const Augmentation& how, std::int64_t size, std::uint64_t seed, std::uint64_t index) {
        if (rgb.dim() != 3 || rgb.size(2) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0) throw ValueError("expected a picture [H, W, 3] of uint8");
        if (size < 1) throw ValueError("a picture has at least one pixel");
        const py::gil_scoped_release release;
        const auto source = rgb.to(at::kCPU).contiguous();
        auto out = at::empty({size, size, 3}, at::kByte);
        Philox random({seed, 0, index}, Stream::kPicture, /*many=*/true);
        const auto place = augment(source.const_data_ptr<std::uint8_t>(), source.size(1), source.size(0), how, size, random, out.data_ptr<std::uint8_t>());
        return std::make_tuple(out, place);
      },
      py::arg("rgb"), py::arg("how"), py::arg("size"), py::arg("seed"), py::arg("index"));
  py::class_<PictureRecipe, Recipe, std::shared_ptr<PictureRecipe>>(m, "PictureRecipe")
      .def(py::init([](std::int64_t patch, const std::vector<std::tuple<std::string, std::int64_t, std::int64_t, Augmentation>>& views, const std::string& mask,
                       double ratio, bool complementary) {
             PictureRecipeOptions options{patch, {}, mask_of(mask), ratio, complementary};
             for (const auto& [role, count, size, augmentation] : views) options.views.push_back({role, count, size, augmentation});
             return std::make_shared<PictureRecipe>(std::move(options));
           }),
           py::arg("patch"), py::arg("views"), py::arg("mask") = "none", py::arg("ratio") = 0.75, py::arg("complementary") = false,
           "views: (role, how many of each sample, pixels of their sides, augmentation).");
  py::class_<SlideSource, Source, std::shared_ptr<SlideSource>>(m, "SlideSource")
      .def(py::init(&make_source), py::kw_only(), py::arg("paths"), py::arg("tissue"), py::arg("subjects"), py::arg("sites"), py::arg("columns"),
           py::arg("mpp"), py::arg("mpp_high"), py::arg("size"), py::arg("random"), py::arg("stride"), py::arg("open"), py::arg("fast"),
           py::arg("targets") = std::map<std::string, std::vector<double>>{})
      .def(
          "sample",
          [](const SlideSource& source, std::int64_t index, std::uint64_t seed, std::uint64_t epoch) {
            const py::gil_scoped_release release;
            const auto sample = source.sample(index, {seed, epoch, static_cast<std::uint64_t>(index)});
            return std::make_tuple(picture_of(sample), std::pair(sample.picture.x, sample.picture.y), 1000 * sample.picture.pixel[0]);
          },
          py::arg("index"), py::arg("seed") = 0, py::arg("epoch") = 0, "uint8 [size, size, 3], (x, y) of its corner in mm, and its µm per pixel.");
}

}  // namespace sslmed::bindings
