// Intensities of volumes, [X, Y, Z] in float32, and images of random contrast from label maps.

#include "transforms/volume_intensity.h"

#include <ATen/Functions.h>

#include <array>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/options.h"
#include "core/error.h"
#include "transforms/volume_contrast.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;

using Spacing = std::array<double, 3>;

void check_spacing(const Spacing& spacing) {
  for (const double mm : spacing) require(mm > 0 && mm < 1e6, "spacing", mm, "mm must be above 0");
}

std::string kind_of(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.sizes() << " in " << tensor.scalar_type() << " on " << tensor.device();
  return text.str();
}

// Applies f(volume) to a copy.
template <class F>
at::Tensor changed_volume(const at::Tensor& given, const Spacing& spacing, F&& f) {
  if (given.dim() != 3 || given.scalar_type() != at::kFloat || given.numel() == 0 || !given.device().is_cpu())
    throw ValueError("volume: expected [X, Y, Z] in float32 on the CPU, found " + kind_of(given));
  check_spacing(spacing);
  const py::gil_scoped_release release;
  auto out = at::empty(given.sizes(), given.options().memory_format(at::MemoryFormat::Contiguous)).copy_(given.detach());
  f(FloatVolume{out.data_ptr<float>(), {out.size(0), out.size(1), out.size(2)}, spacing});
  return out;
}

NoiseKey key_of_seed(std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kAugment);
  return {random.next_u32(), random.next_u32()};
}

at::Tensor contrast_of(const at::Tensor& given, const Spacing& spacing, const VolumeContrastOptions& options, const VolumeIntensityOptions& then,
                       std::uint64_t seed, std::uint64_t index) {
  if (given.dim() != 3 || given.numel() == 0 || !given.device().is_cpu() || at::isFloatingType(given.scalar_type()) || given.scalar_type() == at::kBool)
    throw ValueError("labels: expected [X, Y, Z] of whole numbers on the CPU, found " + kind_of(given));
  check_spacing(spacing);
  const py::gil_scoped_release release;
  if (given.scalar_type() == at::kLong) {
    const auto [low, high] = at::aminmax(given);
    if (low.item<std::int64_t>() < std::numeric_limits<std::int32_t>::min() || high.item<std::int64_t>() > std::numeric_limits<std::int32_t>::max())
      throw ValueError("labels: expected numbers that fit int32, found " + std::to_string(low.item<std::int64_t>()) + " to " +
                       std::to_string(high.item<std::int64_t>()));
  }
  const auto labels = given.to(at::kInt).contiguous();
  auto out = at::empty(labels.sizes(), at::kFloat);
  const std::array<std::int64_t, 3> shape{out.size(0), out.size(1), out.size(2)};
  const FloatVolume volume{out.data_ptr<float>(), shape, spacing};
  Philox random({seed, 0, index}, Stream::kAugment, /*many=*/true);
  apply_contrast(plan_contrast(options, random), {labels.const_data_ptr<std::int32_t>(), shape, spacing}, volume.values);
  apply_intensity(plan_intensity(then, random), volume);
  volume_to_unit(volume.values, volume.size());
  return out;
}

at::Tensor motion_of(const at::Tensor& given, const Spacing& spacing, const std::vector<double>& times, const std::vector<std::array<double, 3>>& degrees,
                     const std::vector<std::array<double, 3>>& translation, int axis, const std::optional<std::array<double, 3>>& center) {
  if (times.size() != degrees.size() || times.size() != translation.size())
    throw ValueError("motion: times, degrees and translation must be equally long, got " + std::to_string(times.size()) + ", " +
                     std::to_string(degrees.size()) + " and " + std::to_string(translation.size()));
  MotionPlan plan;
  plan.axis = axis;
  plan.about_center = !center;
  if (center) plan.center = *center;
  for (std::size_t i = 0; i < times.size(); ++i) plan.movements.push_back({times[i], degrees[i], translation[i]});
  return changed_volume(given, spacing, [&](const FloatVolume& volume) { volume_motion(volume, plan); });
}

void bind_volume_options(py::module_& m) {
  bind_options<VolumeIntensityOptions>(m, "VolumeIntensityOptions", "Probabilities and strengths of changes of a volume's intensities.")
      .def_readwrite("p_inversion", &VolumeIntensityOptions::p_inversion)
      .def_readwrite("p_gamma", &VolumeIntensityOptions::p_gamma)
      .def_readwrite("log_gamma", &VolumeIntensityOptions::log_gamma)
      .def_readwrite("p_motion", &VolumeIntensityOptions::p_motion)
      .def_readwrite("degrees", &VolumeIntensityOptions::degrees)
      .def_readwrite("translation", &VolumeIntensityOptions::translation)
      .def_readwrite("movements", &VolumeIntensityOptions::movements)
      .def_readwrite("p_ghosting", &VolumeIntensityOptions::p_ghosting)
      .def_readwrite("ghosts", &VolumeIntensityOptions::ghosts)
      .def_readwrite("ghosting", &VolumeIntensityOptions::ghosting)
      .def_readwrite("p_blur", &VolumeIntensityOptions::p_blur)
      .def_readwrite("blur_sigma", &VolumeIntensityOptions::blur_sigma)
      .def_readwrite("p_bias", &VolumeIntensityOptions::p_bias)
      .def_readwrite("bias", &VolumeIntensityOptions::bias)
      .def_readwrite("p_noise", &VolumeIntensityOptions::p_noise)
      .def_readwrite("noise_std", &VolumeIntensityOptions::noise_std)
      .def("check", [](const VolumeIntensityOptions& options) { check(options); });
  auto contrast = bind_options<VolumeContrastOptions>(m, "VolumeContrastOptions", "How images of random contrast are made of label maps.");
  contrast.def_readwrite("mean", &VolumeContrastOptions::mean)
      .def_readwrite("std", &VolumeContrastOptions::std)
      .def_readwrite("subclusters", &VolumeContrastOptions::subclusters)
      .def_readwrite("subcluster_scale", &VolumeContrastOptions::subcluster_scale)
      .def_readwrite("classes", &VolumeContrastOptions::classes)
      .def("check", [](const VolumeContrastOptions& options) { check(options); });
  def_choice(contrast, "background", &VolumeContrastOptions::background,
             {{"mixed", Background::kMixed}, {"zero", Background::kZero}, {"class", Background::kClass}});
}

}  // namespace

void bind_volume_intensity(py::module_& m) {
  bind_volume_options(m);
  constexpr Spacing kAny{1, 1, 1};
  m.def(
      "volume_bias",
      [kAny](const at::Tensor& volume, const std::vector<double>& coefficients) {
        return changed_volume(volume, kAny, [&](const FloatVolume& v) { transforms::volume_bias(v, coefficients); });
      },
      py::arg("volume"), py::arg("coefficients"));
  m.def(
      "volume_gamma",
      [kAny](const at::Tensor& volume, double gamma) {
        return changed_volume(volume, kAny, [&](const FloatVolume& v) { transforms::volume_gamma(v.values, v.size(), gamma); });
      },
      py::arg("volume"), py::arg("gamma"));
  m.def(
      "volume_noise",
      [kAny](const at::Tensor& volume, double std, std::uint64_t seed) {
        return changed_volume(volume, kAny, [&](const FloatVolume& v) { transforms::volume_noise(v.values, v.size(), std, key_of_seed(seed)); });
      },
      py::arg("volume"), py::arg("std"), py::arg("seed"));
  m.def(
      "volume_inversion",
      [kAny](const at::Tensor& volume) { return changed_volume(volume, kAny, [](const FloatVolume& v) { transforms::volume_inversion(v.values, v.size()); }); },
      py::arg("volume"));
  m.def(
      "volume_blur",
      [](const at::Tensor& volume, const std::array<double, 3>& sigma, const Spacing& spacing) {
        return changed_volume(volume, spacing, [&](const FloatVolume& v) { transforms::volume_blur(v, sigma); });
      },
      py::arg("volume"), py::arg("sigma"), py::arg("spacing"));
  m.def(
      "volume_ghosting",
      [kAny](const at::Tensor& volume, std::int64_t ghosts, double intensity, int axis, const std::optional<double>& restore) {
        return changed_volume(volume, kAny, [&](const FloatVolume& v) {
          if (restore) require(*restore >= 0, "restore", *restore, "must be a share of k-space, at least 0");
          transforms::volume_ghosting(v, {ghosts, axis, intensity, restore.value_or(-1)});
        });
      },
      py::arg("volume"), py::arg("ghosts"), py::arg("intensity"), py::arg("axis"), py::arg("restore"));
  m.def("volume_motion", &motion_of, py::arg("volume"), py::arg("spacing"), py::arg("times"), py::arg("degrees"), py::arg("translation"), py::arg("axis"),
        py::arg("center"));
  m.def(
      "random_intensity",
      [](const at::Tensor& volume, const Spacing& spacing, const VolumeIntensityOptions& options, std::uint64_t seed, std::uint64_t index) {
        return changed_volume(volume, spacing, [&](const FloatVolume& v) {
          Philox random({seed, 0, index}, Stream::kAugment, /*many=*/true);
          apply_intensity(plan_intensity(options, random), v);
        });
      },
      py::arg("volume"), py::arg("spacing"), py::arg("options"), py::arg("seed"), py::arg("index"));
  m.def("random_contrast", &contrast_of, py::arg("labels"), py::arg("spacing"), py::arg("options"), py::arg("then"), py::arg("seed"), py::arg("index"));
}

}  // namespace sslmed::bindings
