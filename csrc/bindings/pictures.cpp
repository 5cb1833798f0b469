// Sources of pictures, their augmentation and their recipe.

#include "bindings/columns.h"
#include "bindings/options.h"
#include "bindings/polygons.h"
#include "modalities/picture/image_source.h"
#include "modalities/picture/picture_recipe.h"
#include "modalities/picture/slide_source.h"
#include "ops/augment.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::picture;
using transforms::Augmentation;
using Range = std::array<double, 2>;

std::shared_ptr<SlideSource> make_slide_source(const std::string& modality, const OriginColumns& origins, const TextColumn& tissue,
                                               const std::map<std::string, at::Tensor>& columns, double mpp, double mpp_high, std::int64_t size, bool random,
                                               double stride, std::size_t open, bool fast, TargetColumns targets, const std::vector<PolygonColumns>& drawn,
                                               std::int32_t unlabeled) {
  const auto column = [&](const char* name) -> const at::Tensor& {
    const auto found = columns.find(name);
    if (found == columns.end()) throw ValueError(std::string("an index of slides needs a column ") + name);
    return found->second;
  };
  SlideIndex index;
  index.slides = origins_of(origins);
  index.tissue = texts_of(tissue, column("cells").numel());
  for (const auto& [name, into] :
       {std::pair{"width", &index.width}, {"height", &index.height}, {"columns", &index.columns}, {"rows", &index.rows}, {"cells", &index.cells}})
    *into = numbers<std::int64_t>(column(name));
  for (const auto& [name, into] : {std::pair{"mpp_x", &index.mpp_x}, {"mpp_y", &index.mpp_y}, {"cell_x", &index.cell_x}, {"cell_y", &index.cell_y}})
    *into = numbers<double>(column(name));
  std::vector<transforms::Polygons> polygons;
  for (const auto& columns_of_slide : drawn) polygons.push_back(polygons_of(columns_of_slide));
  const py::gil_scoped_release release;
  return std::make_shared<SlideSource>(
      std::move(index), SlideSourceOptions{mpp, mpp_high, size, random, stride, open, fast, modality, std::move(polygons), unlabeled}, std::move(targets));
}

// Objects of images as Python gives them.
std::vector<FileTargets> file_targets(const std::vector<py::dict>& given) {
  std::vector<FileTargets> out;
  for (const auto& entry : given) {
    FileTargets own;
    for (const auto& [key, value] : entry) {
      const auto name = key.cast<std::string>();
      if (name == "shape") {
        own.shape = value.cast<std::vector<std::int64_t>>();
      } else if (const auto parts = value.cast<py::tuple>(); parts[0].cast<std::string>() == "runs") {
        const auto runs = parts[1].cast<at::Tensor>().to(at::kCPU, at::kInt).contiguous();
        own.runs[name].assign(runs.const_data_ptr<std::int32_t>(), runs.const_data_ptr<std::int32_t>() + runs.numel());
      } else {
        own.targets[name] = target_of(value);
      }
    }
    out.push_back(std::move(own));
  }
  return out;
}

std::shared_ptr<ImageSource> make_image_source(const std::string& modality, const OriginColumns& origins, std::int64_t size, const std::string& fit, bool whole,
                                               const std::string& voi, TargetColumns targets, std::vector<std::string> labels,
                                               const std::vector<py::dict>& objects) {
  auto images = origins_of(origins);
  const auto how = choice(fit, Choices<Fit>{{"crop", Fit::kCrop}, {"pad", Fit::kPad}}, "fit");
  return std::make_shared<ImageSource>(std::move(images), ImageSourceOptions{size, how, whole, modality, voi, std::move(labels), file_targets(objects)},
                                       std::move(targets));
}

at::Tensor picture_of(const data::Sample& sample) {
  const auto& array = sample.arrays.front();
  const auto& pixels = std::get<std::vector<std::uint8_t>>(array.values);
  auto out = at::empty(array.shape, at::kByte);
  std::copy(pixels.begin(), pixels.end(), out.data_ptr<std::uint8_t>());
  return out;
}

// A member of a view's frame as an attribute of the view.
template <class T>
void def_frame(py::class_<PictureView>& type, const char* name, T transforms::Frame::*member) {
  type.def_property(
      name, [member](const PictureView& view) { return view.frame.*member; }, [member](PictureView& view, T value) { view.frame.*member = value; });
}

}  // namespace

void bind_pictures(py::module_& m) {
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
      .def(py::init([](const Range& area, const Range& aspect, bool flips, bool turns, double macenko, double hed, double brightness, double contrast,
                       double saturation, double hue, double jitter, double grey, double blur, const Range& blur_sigma, double solarise) {
             const Augmentation out{area[0],  area[1],    aspect[0], aspect[1], flips, turns, macenko,  hed,           brightness,
                                    contrast, saturation, hue,       jitter,    grey,  blur,  solarise, blur_sigma[0], blur_sigma[1]};
             check(out);
             return out;
           }),
           py::kw_only(), py::arg("area"), py::arg("aspect"), py::arg("flips"), py::arg("turns"), py::arg("macenko"), py::arg("hed"), py::arg("brightness"),
           py::arg("contrast"), py::arg("saturation"), py::arg("hue"), py::arg("jitter"), py::arg("grey"), py::arg("blur"), py::arg("blur_sigma"),
           py::arg("solarise"));
  m.def(
      "augment",
      [](const at::Tensor& rgb, const Augmentation& how, std::int64_t size, std::uint64_t seed, std::uint64_t index, double zoom, bool middle) {
        if (rgb.dim() != 3 || rgb.size(2) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0) throw ValueError("expected a picture [H, W, 3] of uint8");
        const transforms::Frame frame{size, zoom, middle};
        check(frame, how);
        const py::gil_scoped_release release;
        const auto source = rgb.to(at::kCPU).contiguous();
        auto out = at::empty({size, size, 3}, at::kByte);
        Philox random({seed, 0, index}, Stream::kPicture, /*many=*/true);
        const auto plan = transforms::plan(source.size(1), source.size(0), how, frame, random);
        apply(plan, source.const_data_ptr<std::uint8_t>(), source.size(1), source.size(0), out.data_ptr<std::uint8_t>());
        return std::make_tuple(out, place_of(plan));
      },
      py::arg("rgb"), py::arg("how"), py::arg("size"), py::arg("seed"), py::arg("index"), py::arg("zoom") = 1.0, py::arg("middle") = false);
  m.def(
      "augment_all",
      [](const std::vector<at::Tensor>& pictures, const Augmentation& how, std::int64_t size, std::uint64_t seed, std::uint64_t first, double zoom, bool middle,
         const std::string& device) {
        const transforms::Frame frame{size, zoom, middle};
        check(frame, how);
        const at::Device there(device);
        if (there.is_cuda() && !at::hasCUDA()) throw ValueError("device='" + device + "' is not available: torch sees no GPU");
        const py::gil_scoped_release release;
        const auto n = static_cast<std::int64_t>(pictures.size());
        std::vector<at::Tensor> bytes;
        ops::AugmentPlans plans;
        std::int64_t used = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          const auto& rgb = pictures[static_cast<std::size_t>(i)];
          if (rgb.dim() != 3 || rgb.size(2) != 3 || rgb.scalar_type() != at::kByte || rgb.numel() == 0)
            throw ValueError("expected a list of pictures [H, W, 3] of uint8");
          Philox random({seed, 0, first + static_cast<std::uint64_t>(i)}, Stream::kPicture, /*many=*/true);
          plans.push_back({transforms::plan(rgb.size(1), rgb.size(0), how, frame, random), used, rgb.size(1), rgb.size(0)});
          bytes.push_back(rgb.reshape({-1}).to(there));
          used += rgb.numel();
        }
        if (n == 0) return at::empty({0, size, size, 3}, at::TensorOptions().dtype(at::kByte).device(there));
        return ops::augment(at::cat(bytes), std::move(plans), size).view({n, size, size, 3});  // one square is the whole
      },
      py::arg("pictures"), py::arg("how"), py::arg("size"), py::arg("seed"), py::arg("first"), py::arg("zoom"), py::arg("middle"), py::arg("device"),
      "uint8 [N, size, size, 3] there.");
  auto view = bind_options<PictureView>(m, "PictureView", "One view that a PictureRecipe makes (modalities/picture/picture_recipe.h).");
  view.def_readwrite("role", &PictureView::role)
      .def_readwrite("count", &PictureView::count)
      .def_readwrite("augmentation", &PictureView::augmentation)
      .def_readwrite("on_device", &PictureView::on_device)
      .def_readwrite("mask", &PictureView::mask)
      .def_readwrite("mask_cell", &PictureView::mask_cell);
  def_frame(view, "size", &transforms::Frame::size);
  def_frame(view, "zoom", &transforms::Frame::zoom);
  def_frame(view, "middle", &transforms::Frame::middle);
  py::class_<PictureRecipe, data::Recipe, std::shared_ptr<PictureRecipe>>(m, "PictureRecipe")
      .def(py::init([](std::int64_t patch, std::vector<PictureView> views) {
             return std::make_shared<PictureRecipe>(PictureRecipeOptions{patch, std::move(views)});
           }),
           py::arg("patch"), py::arg("views"), "patch: pixels; 0 for dense views.");
  py::class_<SlideSource, data::Source, std::shared_ptr<SlideSource>>(m, "SlideSource")
      .def(py::init(&make_slide_source), py::kw_only(), py::arg("modality"), py::arg("origins"), py::arg("tissue"), py::arg("columns"), py::arg("mpp"),
           py::arg("mpp_high"), py::arg("size"), py::arg("random"), py::arg("stride"), py::arg("open"), py::arg("fast"), py::arg("targets") = TargetColumns{},
           py::arg("drawn") = std::vector<PolygonColumns>{}, py::arg("unlabeled") = 0)
      .def(
          "labels",
          [](const SlideSource& source, std::int64_t slide, double x, double y, double mpp, std::int64_t width, std::int64_t height) {
            const py::gil_scoped_release release;
            const auto found = source.labels(slide, x, y, mpp, width, height);
            auto out = at::empty({height, width}, at::kInt);
            std::copy(found.begin(), found.end(), out.data_ptr<std::int32_t>());
            return out;
          },
          py::arg("slide"), py::arg("x"), py::arg("y"), py::arg("mpp"), py::arg("width"), py::arg("height"),
          "int32 [height, width] of what is drawn on a part of a slide whose corner is at (x, y) of level 0.")
      .def(
          "sample",
          [](const SlideSource& source, std::int64_t index, std::uint64_t seed, std::uint64_t epoch) {
            const py::gil_scoped_release release;
            const auto sample = source.sample(index, {seed, epoch, static_cast<std::uint64_t>(index)});
            const auto& space = std::get<data::GridSpace>(sample.arrays.front().space);
            return std::make_tuple(picture_of(sample), std::pair(space.origin[1], space.origin[0]), 1000 * space.spacing[1]);
          },
          py::arg("index"), py::arg("seed") = 0, py::arg("epoch") = 0, "uint8 [size, size, 3], (x, y) of its corner in mm, and its µm per pixel.");
  py::class_<ImageSource, data::Source, std::shared_ptr<ImageSource>>(m, "ImageSource")
      .def(py::init(&make_image_source), py::kw_only(), py::arg("modality"), py::arg("origins"), py::arg("size"), py::arg("fit"), py::arg("whole"),
           py::arg("voi") = "auto", py::arg("targets") = TargetColumns{}, py::arg("labels") = std::vector<std::string>{},
           py::arg("objects") = std::vector<py::dict>{},
           "objects: a dict an image: 'shape' (rows, columns) of its file, and by name ('points', [n, 2], classes [n]), ('boxes', [n, 2, 2], classes [n]) or "
           "('runs', [n, 2]) values and numbers of pixels of a label map.")
      .def(
          "sample",
          [](const ImageSource& source, std::int64_t index) {
            const py::gil_scoped_release release;
            return picture_of(source.sample(index, {}));
          },
          py::arg("index"), "uint8 [height, width, 3].")
      .def("take_warnings", &ImageSource::take_warnings, "What was found in files since the last call.");
}

}  // namespace sslmed::bindings
