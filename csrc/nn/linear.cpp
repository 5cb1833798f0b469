#include "nn/linear.h"

#include <ATen/Context.h>
#include <ATen/TracerMode.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <stdexcept>
#include <string_view>

#include "core/simd.h"

namespace sslmed::nn {
namespace {

// Multiply-adds. A shape that was there before takes half of MKL's time from here on. One that never was takes as much at 1,000 rows (of 192 to 768 columns)
// and a third more at 200; batches of mixed montages are mostly larger, and come back.
constexpr std::int64_t kWorth = 20'000'000;

using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view, c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>);

// The one operator of PyTorch that gives float32 matrices to oneDNN.
std::optional<c10::OperatorHandle> pointwise() {
  static const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  return found;
}

// a [m, k] times b [n, k] transposed, plus bias; of any strides.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const std::optional<at::Tensor>& bias = std::nullopt) {
  static const auto op = pointwise().value().typed<Pointwise>();
  return op.call(a, b, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

class Product : public torch::autograd::Function<Product> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    return product(x, weight, bias);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    TORCH_CHECK(!grads[0].requires_grad(), "a linear layer through oneDNN can be differentiated only once (create_graph=True is not supported)");
    const auto saved = context->get_saved_variables();
    const at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor &x = saved[0], &weight = saved[1], grad = grads[0].contiguous();
    torch::autograd::variable_list out(3);
    if (context->needs_input_grad(0)) out[0] = product(grad, weight.t());
    // oneDNN is faster with the longer side as the columns.
    if (context->needs_input_grad(1)) out[1] = weight.size(0) > weight.size(1) ? product(x.t(), grad.t()).t() : product(grad.t(), x.t());
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2)) out[2] = grad.sum(0);
    return out;
  }
};

}  // namespace

bool prefers_onednn(const at::Tensor& x, const at::Tensor& weight) {
  static const bool slow = is_amd_with_avx512() && at::globalContext().hasMKL() && pointwise().has_value();
  if (at::tracer::impl::is_dispatch_enabled()) return false;  // other runtimes have no such operator
  return slow && x.is_cpu() && weight.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && x.numel() * weight.size(0) >= kWorth &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

at::Tensor linear_by_onednn(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!pointwise()) throw std::runtime_error("this build of PyTorch has no oneDNN");
  const auto offset = bias.defined() ? std::optional(bias) : std::nullopt;
  if (x.dim() == 2) return Product::apply(x, weight, offset);
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return Product::apply(x.reshape({-1, x.size(-1)}), weight, offset).view(sizes);
}

}  // namespace sslmed::nn
