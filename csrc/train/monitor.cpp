#include "train/monitor.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace sslmed::train {

FeatureHealth feature_health(const at::Tensor& features) {
  if (features.dim() != 2 || features.size(0) < 2) return {};
  const c10::NoGradGuard guard;
  const auto values = features.to(at::kCPU, at::kDouble);
  const auto centered = values - values.mean(0, /*keepdim=*/true);
  const double size = values.square().mean().item<double>();
  // The loss that comes of them says so, with the samples' names.
  if (!std::isfinite(size)) return {};
  FeatureHealth health;
  health.std = size > 0 ? std::sqrt(centered.square().mean().item<double>() / size) : 0;
  const auto singular = at::linalg_svdvals(centered);
  const auto share = singular / singular.sum().clamp_min(1e-300);
  health.effective_rank = at::special_entr(share).sum().exp().item<double>();
  return health;
}

}  // namespace sslmed::train
