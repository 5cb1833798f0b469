// The autograd formula of info_nce. Once differentiable: nothing that we train needs a second derivative of it.

#include "ops/info_nce.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace sslmed::ops {
namespace {

std::optional<at::Tensor> if_defined(const at::Tensor& tensor) { return tensor.defined() ? std::optional(tensor) : std::nullopt; }

class InfoNce : public torch::autograd::Function<InfoNce> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& queries, const std::optional<at::Tensor>& keys,
                                                const at::Tensor& positive, const std::optional<at::Tensor>& own, double temperature) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto [losses, lse] = info_nce(queries, keys, positive, own, temperature);
    context->save_for_backward({queries, keys.value_or(at::Tensor()), positive, own.value_or(at::Tensor()), lse});
    context->saved_data["temperature"] = temperature;
    context->mark_non_differentiable({lse});
    return {losses, lse};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "info_nce can be differentiated only once (create_graph=True is not supported)");
    const auto saved = context->get_saved_variables();
    const at::AutoDispatchBelowADInplaceOrView guard;
    const bool wants_keys = saved[1].defined() && context->needs_input_grad(1);
    auto [of_queries, of_keys] = info_nce_backward(grads[0], saved[0], if_defined(saved[1]), saved[2], if_defined(saved[3]), saved[4],
                                                   context->saved_data["temperature"].toDouble(), wants_keys);
    return {of_queries, wants_keys ? of_keys : at::Tensor(), {}, {}, {}};
  }
};

std::tuple<at::Tensor, at::Tensor> autograd_info_nce(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive,
                                                     const std::optional<at::Tensor>& own, double temperature) {
  auto out = InfoNce::apply(queries, keys, positive, own, temperature);
  return {out[0], out[1]};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, Autograd, m) { m.impl("info_nce", sslmed::ops::autograd_info_nce); }
