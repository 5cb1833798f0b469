#include "ops/soft_cross_entropy.h"

#include <ATen/OpMathType.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace sslmed::ops {

void check_soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs, double temperature) {
  TORCH_CHECK_TYPE(logits.is_floating_point(), "soft_cross_entropy: logits must be floating point, got ", logits.scalar_type());
  TORCH_CHECK_VALUE(logits.dim() == 3 && logits.numel() > 0, "soft_cross_entropy: logits must be [V, R, K] and hold something, got ", logits.sizes());
  TORCH_CHECK_VALUE(targets.dim() == 3 && targets.size(0) > 0 && targets.size(1) == logits.size(1) && targets.size(2) == logits.size(2),
                    "soft_cross_entropy: targets must be [G, R, K] with R=", logits.size(1), " and K=", logits.size(2), ", got ", targets.sizes());
  TORCH_CHECK_VALUE(pairs.dim() == 2 && pairs.size(0) == logits.size(0) && pairs.size(1) == targets.size(0), "soft_cross_entropy: pairs must be [V, G] = [",
                    logits.size(0), ", ", targets.size(0), "], got ", pairs.sizes());
  const auto type = at::toOpMathType(logits.scalar_type());
  TORCH_CHECK_TYPE(targets.scalar_type() == type && pairs.scalar_type() == type, "soft_cross_entropy: targets and pairs must be ", type, ", got ",
                   targets.scalar_type(), " and ", pairs.scalar_type());
  TORCH_CHECK_VALUE(temperature > 0, "soft_cross_entropy: temperature=", temperature, " must be positive");
  TORCH_CHECK_VALUE(logits.device() == targets.device() && logits.device() == pairs.device(),
                    "soft_cross_entropy: logits, targets and pairs are on different devices");
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                                                  double temperature) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::soft_cross_entropy", "")
                             .typed<std::tuple<at::Tensor, at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&, double)>();
  return op.call(logits, targets, pairs, temperature);
}

at::Tensor soft_cross_entropy_backward(const at::Tensor& grad, const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                       const at::Tensor& lse, const at::Tensor& mass, double temperature) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("sslmed::soft_cross_entropy_backward", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, double)>();
  return op.call(grad, logits, targets, pairs, lse, mass, temperature);
}

}  // namespace sslmed::ops

TORCH_LIBRARY_FRAGMENT(sslmed, m) {
  m.def("soft_cross_entropy(Tensor logits, Tensor targets, Tensor pairs, float temperature) -> (Tensor, Tensor, Tensor)");
  m.def("soft_cross_entropy_backward(Tensor grad, Tensor logits, Tensor targets, Tensor pairs, Tensor lse, Tensor mass, float temperature) -> Tensor");
}
