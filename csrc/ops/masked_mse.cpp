#include "ops/masked_mse.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace sslmed::ops {

void check_masked_mse(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm) {
  TORCH_CHECK_VALUE(pred.dim() == 3 && target.sizes() == pred.sizes(), "masked_mse: pred and target must both be [B, N, P], got ", pred.sizes(), " and ",
                    target.sizes());
  TORCH_CHECK_VALUE(!mask || (mask->dim() == 2 && mask->size(0) == pred.size(0) && mask->size(1) == pred.size(1)), "masked_mse: mask must be [B, N] = [",
                    pred.size(0), ", ", pred.size(1), "], got ", mask ? mask->sizes() : at::IntArrayRef{});
  TORCH_CHECK_TYPE(pred.is_floating_point() && pred.scalar_type() == target.scalar_type(),
                   "masked_mse: pred and target must be floating point of one dtype, got ", pred.scalar_type(), " and ", target.scalar_type());
  TORCH_CHECK_VALUE(!norm || pred.size(2) >= 2, "masked_mse: norm=True needs patches of at least 2 values for the unbiased variance, got ", pred.size(2));
  TORCH_CHECK_VALUE(pred.size(2) >= 1, "masked_mse: patches are empty");
  TORCH_CHECK_VALUE(pred.device() == target.device() && (!mask || pred.device() == mask->device()),
                    "masked_mse: pred, target and mask are on different devices");
}

at::Tensor masked_mse(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm) {
  check_masked_mse(pred, target, mask, norm);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::masked_mse", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, bool)>();
  return op.call(pred, target, mask, norm);
}

std::tuple<at::Tensor, at::Tensor> masked_mse_backward(const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
                                                       const std::optional<at::Tensor>& mask, bool norm, bool wants_target) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("sslmed::masked_mse_backward", "")
          .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, bool, bool)>();
  return op.call(grad, pred, target, mask, norm, wants_target);
}

}  // namespace sslmed::ops

// A fragment: every op of the library defines its own.
TORCH_LIBRARY_FRAGMENT(sslmed, m) {
  m.def("masked_mse(Tensor pred, Tensor target, Tensor? mask, bool norm=True) -> Tensor");
  m.def("masked_mse_backward(Tensor grad, Tensor pred, Tensor target, Tensor? mask, bool norm, bool wants_target) -> (Tensor, Tensor)");
}
