// Spatial changes of volumes: maps, their random draws, and grids of another spacing.

#include "ops/volume_spatial.h"

#include <ATen/Functions.h>

#include "bindings/options.h"
#include "transforms/volume_resample.h"
#include "transforms/volume_spatial.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;
using Three = std::array<double, 3>;
using ThreeCells = std::array<std::int64_t, 3>;

const Choices<VolumeInterpolation> kInterpolations{
    {"linear", VolumeInterpolation::kLinear}, {"nearest", VolumeInterpolation::kNearest}, {"label", VolumeInterpolation::kLabel}};

// [..., X, Y, Z] as [N, X, Y, Z].
at::Tensor as_volumes(const at::Tensor& volume) {
  TORCH_CHECK_VALUE(volume.dim() >= 3, "volume: shape=", volume.sizes(), " must be [..., X, Y, Z]");
  return volume.reshape({-1, volume.size(-3), volume.size(-2), volume.size(-1)}).contiguous();
}

// The axes before X, Y and Z are those of `like`.
at::Tensor shaped_like(const at::Tensor& volumes, const at::Tensor& like) {
  auto shape = like.sizes().vec();
  std::copy_n(volumes.sizes().end() - 3, 3, shape.end() - 3);
  return volumes.view(shape);
}

at::Tensor warped(const VolumeMap& map, const at::Tensor& volume, const std::string& interpolation, std::optional<double> fill) {
  const auto how = choice(interpolation, kInterpolations, "volume: interpolation");
  const py::gil_scoped_release release;
  return shaped_like(ops::warp_volume(as_volumes(volume.detach()), map, how, fill), volume);
}

at::Tensor points_moved(const VolumeMap& map, const at::Tensor& points, bool back) {
  TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) == 3, "points: shape=", points.sizes(), " must be [N, 3]");
  TORCH_CHECK_TYPE(points.is_floating_point(), "points: dtype=", points.scalar_type(), " must be float32 or float64");
  const py::gil_scoped_release release;
  auto out = points.detach().to(at::kCPU, at::kDouble, false, true).contiguous();
  map.move_points(out.data_ptr<double>(), out.size(0), back);
  return out.to(points.options());
}

VolumeMap with_elastic(const VolumeMap& map, const at::Tensor& displacement) {
  TORCH_CHECK_VALUE(displacement.dim() == 4 && displacement.size(3) == 3, "elastic: displacement of shape ", displacement.sizes(), " must be [cx, cy, cz, 3]");
  const auto mm = displacement.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* first = mm.const_data_ptr<float>();
  auto out = map;
  out.elastic({{mm.size(0), mm.size(1), mm.size(2)}, {first, first + mm.numel()}});
  return out;
}

at::Tensor resampled(const at::Tensor& volume, const Three& spacing, const Three& to, bool antialias) {
  TORCH_CHECK_TYPE(volume.scalar_type() == at::kFloat, "resample_volume: dtype=", volume.scalar_type(), " must be float32");
  const py::gil_scoped_release release;
  const auto volumes = as_volumes(volume.detach().to(at::kCPU));
  const auto grid = resample_grid({volumes.size(1), volumes.size(2), volumes.size(3)}, spacing, to);
  auto out = at::empty({volumes.size(0), grid.to[0], grid.to[1], grid.to[2]}, at::kFloat);
  for (std::int64_t n = 0; n < volumes.size(0); ++n)
    resample_linear(grid, volumes.const_data_ptr<float>() + n * volumes.stride(0), antialias, out.data_ptr<float>() + n * out.stride(0));
  return shaped_like(out, volume).to(volume.device());
}

void bind_map(py::module_& m) {
  py::class_<VolumeMap>(m, "VolumeMap", "Where a changed volume's cells lie in the one it was made of. Every method gives a new map.")
      .def(py::init(&VolumeMap::identity), py::arg("shape"), py::arg("spacing"))
      .def_readonly("shape", &VolumeMap::from)
      .def_readonly("spacing", &VolumeMap::from_spacing)
      .def_readonly("result_shape", &VolumeMap::to)
      .def_readonly("result_spacing", &VolumeMap::to_spacing)
      .def(
          "affine", [](VolumeMap map, const Three& scales, const Three& degrees, const Three& translation) { return map.affine(scales, degrees, translation); },
          py::arg("scales"), py::arg("degrees"), py::arg("translation"))
      .def("elastic", &with_elastic, py::arg("displacement"))
      .def(
          "flip", [](VolumeMap map, std::size_t axis) { return map.flip(axis); }, py::arg("axis"))
      .def(
          "window", [](VolumeMap map, const ThreeCells& first, const ThreeCells& shape) { return map.window(first, shape); }, py::arg("first"),
          py::arg("shape"))
      .def(
          "crop_or_pad", [](VolumeMap map, const ThreeCells& shape) { return map.crop_or_pad(shape); }, py::arg("shape"))
      .def(
          "resample", [](VolumeMap map, const Three& spacing) { return map.resample(spacing); }, py::arg("spacing"))
      .def(
          "then", [](VolumeMap map, const VolumeMap& next) { return map.then(next); }, py::arg("next"))
      .def("inverse", &VolumeMap::inverse)
      .def("apply", &warped, py::arg("volume"), py::arg("interpolation"), py::arg("fill"))
      .def("move_points", &points_moved, py::arg("points"), py::arg("back") = false);
}

void bind_random(py::module_& m) {
  using Options = VolumeSpatialOptions;
  bind_options<Options>(m, "VolumeSpatialOptions",
                        "Which random spatial changes a volume gets.\n\n"
                        "p_flip: Probability of a flip of each axis; by default of left and right alone.\n"
                        "p_affine: Probability of an affine change.\n"
                        "scales: Each axis is scaled by 1 ± scales.\n"
                        "degrees: Each axis is turned about by ± degrees.\n"
                        "translation: Each axis is moved along by ± translation mm.\n"
                        "p_elastic: Probability of an elastic displacement.\n"
                        "control_points: Control points of its spline along each axis, at least 4.\n"
                        "max_displacement: Largest displacement of a control point along an axis, in mm.\n"
                        "locked_borders: Outer layers of control points that stay, 0 to 2.\n"
                        "p_anisotropy: Probability of lost resolution along a random axis.\n"
                        "anisotropy: Smallest and largest factor by which cells are longer then.\n"
                        "window: Cells of the result along each axis; 0 keeps the axis as it is.\n"
                        "random_window: Whether an axis is cut anywhere, or in the middle.\n"
                        "fill: What lies outside of the volume; None takes its minimum.")
      .def_readwrite("p_flip", &Options::p_flip)
      .def_readwrite("p_affine", &Options::p_affine)
      .def_readwrite("scales", &Options::scales)
      .def_readwrite("degrees", &Options::degrees)
      .def_readwrite("translation", &Options::translation)
      .def_readwrite("p_elastic", &Options::p_elastic)
      .def_readwrite("control_points", &Options::control_points)
      .def_readwrite("max_displacement", &Options::max_displacement)
      .def_readwrite("locked_borders", &Options::locked_borders)
      .def_readwrite("p_anisotropy", &Options::p_anisotropy)
      .def_readwrite("anisotropy", &Options::anisotropy)
      .def_readwrite("window", &Options::window)
      .def_readwrite("random_window", &Options::random_window)
      .def_readwrite("fill", &Options::fill);
  m.def(
      "plan_volume",
      [](const ThreeCells& shape, const Three& spacing, const Options& options, std::uint64_t seed, std::uint64_t epoch, std::uint64_t index) {
        Philox random({seed, epoch, index}, Stream::kAugment, /*many=*/true);
        const auto plan = plan_spatial(shape, spacing, options, random);
        return std::make_tuple(plan.map(), plan.anisotropy_axis, plan.anisotropy);
      },
      py::arg("shape"), py::arg("spacing"), py::arg("options"), py::arg("seed"), py::arg("epoch"), py::arg("index"),
      "The map of a draw, and the axis (-1: none) and factor of its lost resolution.");
}

}  // namespace

void bind_volume_spatial(py::module_& m) {
  bind_map(m);
  bind_random(m);
  m.def(
      "lose_resolution",
      [](const at::Tensor& volume, std::int64_t axis, double factor) {
        const py::gil_scoped_release release;
        return shaped_like(ops::lose_resolution(as_volumes(volume.detach()), axis, factor), volume);
      },
      py::arg("volume"), py::arg("axis"), py::arg("factor"));
  m.def("resample_volume", &resampled, py::arg("volume"), py::arg("spacing"), py::arg("to"), py::arg("antialias"));
}

}  // namespace sslmed::bindings
