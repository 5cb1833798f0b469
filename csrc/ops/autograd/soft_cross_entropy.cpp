// The autograd formula of soft_cross_entropy. Once differentiable: nothing that we train needs a second derivative of it.

#include "ops/soft_cross_entropy.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace sslmed::ops {
namespace {

class SoftCrossEntropy : public torch::autograd::Function<SoftCrossEntropy> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& logits, const at::Tensor& targets,
                                                const at::Tensor& pairs, double temperature) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto [losses, lse, mass] = soft_cross_entropy(logits, targets, pairs, temperature);
    context->save_for_backward({logits, targets, pairs, lse, mass});
    context->saved_data["temperature"] = temperature;
    context->mark_non_differentiable({lse, mass});
    return {losses, lse, mass};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "soft_cross_entropy can be differentiated only once (create_graph=True is not supported)");
    TORCH_CHECK(!context->needs_input_grad(1) && !context->needs_input_grad(2), "soft_cross_entropy: targets and pairs have no gradients: detach them");
    const auto saved = context->get_saved_variables();
    const at::AutoDispatchBelowADInplaceOrView guard;
    return {soft_cross_entropy_backward(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4], context->saved_data["temperature"].toDouble()), {}, {}, {}};
  }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor> autograd_soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                                                           double temperature) {
  auto out = SoftCrossEntropy::apply(logits, targets, pairs, temperature);
  return {out[0], out[1], out[2]};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, Autograd, m) { m.impl("soft_cross_entropy", sslmed::ops::autograd_soft_cross_entropy); }
