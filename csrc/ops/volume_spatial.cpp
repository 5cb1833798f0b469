#include "ops/volume_spatial.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <cmath>

namespace sslmed::ops {

using transforms::VolumeInterpolation;

void check_warp(const at::Tensor& volumes, const transforms::VolumeMap& map, VolumeInterpolation how) {
  const auto type = volumes.scalar_type();
  TORCH_CHECK_TYPE(type == at::kFloat || type == at::kInt || type == at::kByte, "volume: dtype=", type, " must be float32, int32 or uint8");
  TORCH_CHECK_VALUE(volumes.dim() == 4 && volumes.is_contiguous(), "volume: shape=", volumes.sizes(), " must be [N, X, Y, Z]");
  const auto& from = map.from;
  TORCH_CHECK_VALUE(volumes.size(1) == from[0] && volumes.size(2) == from[1] && volumes.size(3) == from[2], "volume: shape=", volumes.sizes().slice(1),
                    " must be the transform's [", from[0], ", ", from[1], ", ", from[2], "]");
  TORCH_CHECK_VALUE(how >= VolumeInterpolation::kLinear && how <= VolumeInterpolation::kLabel, "volume: interpolation=", static_cast<int>(how),
                    " must be 0 (linear), 1 (nearest) or 2 (label)");
  TORCH_CHECK_VALUE(how != VolumeInterpolation::kLinear || type == at::kFloat, "volume: interpolation='linear' needs float32 values, got ", type,
                    "; whole numbers take 'nearest' or 'label'");
}

void check_lose_resolution(const at::Tensor& volumes, std::int64_t axis, double factor) {
  TORCH_CHECK_TYPE(volumes.scalar_type() == at::kFloat, "anisotropy: dtype=", volumes.scalar_type(), " must be float32");
  TORCH_CHECK_VALUE(volumes.dim() == 4 && volumes.is_contiguous(), "anisotropy: shape=", volumes.sizes(), " must be [N, X, Y, Z]");
  TORCH_CHECK_VALUE(axis >= 0 && axis < 3, "anisotropy: axis=", axis, " must be 0, 1 or 2");
  TORCH_CHECK_VALUE(factor >= 1 && std::isfinite(factor), "anisotropy: factor=", factor, " must be finite and at least 1");
}

at::Tensor outside_of(const at::Tensor& volumes, const transforms::VolumeWarp& warp, std::optional<double> fill) {
  if (!fill && !warp.covers() && volumes.scalar_type() == at::kFloat && volumes.numel() > 0) return volumes.flatten(1).amin(1).to(at::kDouble).cpu();
  return at::full({volumes.size(0)}, fill.value_or(0), at::kDouble);
}

at::Tensor warp_volume(const at::Tensor& volumes, transforms::VolumeMap map, VolumeInterpolation how, std::optional<double> fill) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::warp_volume", "")
                             .typed<at::Tensor(const at::Tensor&, const c10::intrusive_ptr<VolumeMapHolder>&, std::int64_t, std::optional<double>)>();
  return op.call(volumes, c10::make_intrusive<VolumeMapHolder>(std::move(map)), static_cast<std::int64_t>(how), fill);
}

at::Tensor lose_resolution(const at::Tensor& volumes, std::int64_t axis, double factor) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("sslmed::lose_resolution", "").typed<at::Tensor(const at::Tensor&, std::int64_t, double)>();
  return op.call(volumes, axis, factor);
}

}  // namespace sslmed::ops

TORCH_LIBRARY_FRAGMENT(sslmed, m) {
  m.class_<sslmed::ops::VolumeMapHolder>("VolumeMap");
  m.def("warp_volume(Tensor volumes, __torch__.torch.classes.sslmed.VolumeMap map, int interpolation, float? fill) -> Tensor");
  m.def("lose_resolution(Tensor volumes, int axis, float factor) -> Tensor");
}
