#include "train/optimizer.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace sslmed::train {

AdamW::AdamW(std::vector<methods::ParameterGroup> groups, const AdamWOptions& options) : options_(options) {
  for (auto& parameters : groups) {
    Group group;
    for (const auto& parameter : parameters.parameters) {
      group.exp_avg.push_back(at::zeros_like(parameter));
      group.exp_avg_sq.push_back(at::zeros_like(parameter));
      group.steps.push_back(at::zeros({}, parameter.options().dtype(at::kFloat)));
    }
    group.parameters = std::move(parameters);
    groups_.push_back(std::move(group));
  }
}

void AdamW::zero_grad() {
  for (auto& group : groups_)
    for (auto& parameter : group.parameters.parameters) parameter.mutable_grad().reset();
}

double AdamW::clip(double max_norm, double scale) {
  const c10::NoGradGuard guard;
  std::vector<at::Tensor> grads;
  for (const auto& group : groups_)
    for (const auto& parameter : group.parameters.parameters)
      if (parameter.grad().defined()) grads.push_back(parameter.grad());
  if (grads.empty()) return 0;
  const auto norms = at::_foreach_norm(grads);
  const double norm = at::linalg_vector_norm(at::stack(norms)).item<double>() * scale;
  if (max_norm > 0 && norm > max_norm) scale *= max_norm / (norm + 1e-6);
  if (scale != 1) at::_foreach_mul_(grads, scale);
  return norm;
}

void AdamW::step(double lr, double weight_decay) {
  const c10::NoGradGuard guard;
  for (auto& group : groups_) {
    std::vector<at::Tensor> parameters, grads, exp_avg, exp_avg_sq, steps;
    for (std::size_t i = 0; i < group.steps.size(); ++i) {
      const auto& parameter = group.parameters.parameters[i];
      if (!parameter.grad().defined()) continue;
      parameters.push_back(parameter);
      grads.push_back(parameter.grad());
      exp_avg.push_back(group.exp_avg[i]);
      exp_avg_sq.push_back(group.exp_avg_sq[i]);
      steps.push_back(group.steps[i]);
    }
    if (parameters.empty()) continue;
    at::_foreach_add_(steps, 1);
    at::_fused_adamw_(parameters, grads, exp_avg, exp_avg_sq, {}, steps, lr * group.parameters.lr_scale, options_.beta1, options_.beta2,
                      group.parameters.decay ? weight_decay : 0.0, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
  }
}

std::map<std::string, at::Tensor> AdamW::state() const {
  std::map<std::string, at::Tensor> state;
  for (const auto& group : groups_) {
    for (std::size_t i = 0; i < group.steps.size(); ++i) {
      const std::string& name = group.parameters.names[i];
      state["exp_avg." + name] = group.exp_avg[i];
      state["exp_avg_sq." + name] = group.exp_avg_sq[i];
      state["step." + name] = group.steps[i];
    }
  }
  return state;
}

void AdamW::load(const std::map<std::string, at::Tensor>& saved) {
  const c10::NoGradGuard guard;
  for (auto& [name, tensor] : state()) {
    const auto found = saved.find(name);
    TORCH_CHECK_VALUE(found != saved.end() && found->second.sizes() == tensor.sizes(), "the checkpoint has no optimiser state ", name, " of shape ",
                      tensor.sizes());
    at::Tensor(tensor).copy_(found->second);
  }
}

}  // namespace sslmed::train
