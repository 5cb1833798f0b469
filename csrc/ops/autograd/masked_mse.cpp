// The autograd formula of masked_mse. Once differentiable: nothing that we train needs a second derivative of it, and a
// wrong one would be worse than an error.

#include "ops/masked_mse.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace sslmed::ops {
namespace {

class MaskedMse : public torch::autograd::Function<MaskedMse> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask,
                            bool norm) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({pred, target, mask.value_or(at::Tensor())});
    context->saved_data["norm"] = norm;
    return masked_mse(pred, target, mask, norm);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    TORCH_CHECK(!grads[0].requires_grad(), "masked_mse can be differentiated only once (create_graph=True is not supported)");
    const auto saved = context->get_saved_variables();
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto [grad_pred, grad_target] = masked_mse_backward(grads[0], saved[0], saved[1], saved[2].defined() ? std::optional(saved[2]) : std::nullopt,
                                                        context->saved_data["norm"].toBool(), context->needs_input_grad(1));
    return {context->needs_input_grad(0) ? grad_pred : at::Tensor(), context->needs_input_grad(1) ? grad_target : at::Tensor(), {}, {}};
  }
};

at::Tensor autograd_masked_mse(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm) {
  return MaskedMse::apply(pred, target, mask, norm);
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, Autograd, m) { m.impl("masked_mse", sslmed::ops::autograd_masked_mse); }
