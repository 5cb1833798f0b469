#include "train/layerwise_optimizers.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <utility>

namespace sslmed::train {
namespace {

constexpr double kTrust = 1e-3, kLarsEps = 1e-8, kLambEps = 1e-6;

// `ratio` where both norms are positive, one otherwise. On the device: no step waits for it.
at::Tensor trusted(const at::Tensor& ratio, const at::Tensor& of_weights, const at::Tensor& of_step) {
  return at::where(at::logical_and(of_weights.gt(0), of_step.gt(0)), ratio, 1.0);
}

}  // namespace

Sgd::Sgd(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options) : Optimizer(std::move(groups), options, {"momentum"}) {}

void Sgd::apply(Update& update) const {
  auto& momentum = update.state[0];
  at::_foreach_mul_(momentum, options_.momentum);
  at::_foreach_add_(momentum, update.grads);
  if (update.weight_decay != 0) at::_foreach_add_(momentum, update.parameters, update.weight_decay);
  at::_foreach_add_(update.parameters, momentum, -update.lr);
}

void Lars::apply(Update& update) const {
  if (!update.decays) return Sgd::apply(update);
  for (std::size_t i = 0; i < update.parameters.size(); ++i) {
    auto &parameter = update.parameters[i], &momentum = update.state[0][i];
    const auto& grad = update.grads[i];
    const auto of_weights = at::linalg_vector_norm(parameter), of_grad = at::linalg_vector_norm(grad);
    const auto ratio = trusted(kTrust * of_weights / (of_grad + update.weight_decay * of_weights + kLarsEps), of_weights, of_grad);
    momentum.mul_(options_.momentum).add_(at::add(grad, parameter, update.weight_decay).mul_(ratio));
    parameter.sub_(momentum, update.lr);
  }
}

Lamb::Lamb(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options)
    : Optimizer(std::move(groups), options, {"exp_avg", "exp_avg_sq", "step"}) {}

void Lamb::apply(Update& update) const {
  at::_foreach_add_(update.state[2], 1);
  for (std::size_t i = 0; i < update.parameters.size(); ++i) {
    auto &parameter = update.parameters[i], &first = update.state[0][i], &second = update.state[1][i];
    const auto &grad = update.grads[i], steps = update.state[2][i].to(at::kDouble);
    first.mul_(options_.beta1).add_(grad, 1 - options_.beta1);
    second.mul_(options_.beta2).addcmul_(grad, grad, 1 - options_.beta2);
    const auto of_first = 1 - at::pow(options_.beta1, steps), of_second = 1 - at::pow(options_.beta2, steps);
    auto step = (first / of_first).div_((second / of_second).sqrt_().add_(kLambEps));
    if (update.weight_decay != 0) step.add_(parameter, update.weight_decay);
    if (update.decays) {
      const auto of_weights = at::linalg_vector_norm(parameter), of_step = at::linalg_vector_norm(step);
      step.mul_(trusted(of_weights / of_step, of_weights, of_step));
    }
    parameter.sub_(step, update.lr);
  }
}

}  // namespace sslmed::train
