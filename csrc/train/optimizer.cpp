#include "train/optimizer.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "train/layerwise_optimizers.h"

namespace sslmed::train {

Optimizer::Optimizer(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options, std::vector<std::string> names)
    : options_(options), names_(std::move(names)) {
  for (auto& parameters : groups) {
    Group group;
    for (const auto& name : names_) {
      auto& tensors = group.state.emplace_back();
      for (const auto& parameter : parameters.parameters)
        tensors.push_back(name == "step" ? at::zeros({}, parameter.options().dtype(at::kFloat)) : at::zeros_like(parameter));
    }
    group.parameters = std::move(parameters);
    groups_.push_back(std::move(group));
  }
}

void Optimizer::zero_grad() {
  for (auto& group : groups_)
    for (auto& parameter : group.parameters.parameters) parameter.mutable_grad().reset();
}

double Optimizer::clip(double max_norm, double scale) {
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

void Optimizer::step(double lr, double weight_decay) {
  const c10::NoGradGuard guard;
  for (auto& group : groups_) {
    Update update;
    update.state.resize(names_.size());
    for (std::size_t i = 0; i < group.parameters.parameters.size(); ++i) {
      const auto& parameter = group.parameters.parameters[i];
      if (!parameter.grad().defined()) continue;
      update.parameters.push_back(parameter);
      update.grads.push_back(parameter.grad());
      for (std::size_t k = 0; k < names_.size(); ++k) update.state[k].push_back(group.state[k][i]);
    }
    if (update.parameters.empty()) continue;
    update.lr = lr * group.parameters.lr_scale;
    update.decays = group.parameters.decay;
    update.weight_decay = update.decays ? weight_decay : 0.0;
    apply(update);
  }
}

std::map<std::string, at::Tensor> Optimizer::state() const {
  std::map<std::string, at::Tensor> state;
  for (const auto& group : groups_)
    for (std::size_t k = 0; k < names_.size(); ++k)
      for (std::size_t i = 0; i < group.state[k].size(); ++i) state[names_[k] + "." + group.parameters.names[i]] = group.state[k][i];
  return state;
}

void Optimizer::load(const std::map<std::string, at::Tensor>& saved) {
  const c10::NoGradGuard guard;
  for (auto& [name, tensor] : state()) {
    const auto found = saved.find(name);
    TORCH_CHECK_VALUE(found != saved.end() && found->second.sizes() == tensor.sizes(), "the checkpoint has no optimizer state ", name, " of shape ",
                      tensor.sizes());
    at::Tensor(tensor).copy_(found->second);
  }
}

AdamW::AdamW(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options)
    : Optimizer(std::move(groups), options, {"exp_avg", "exp_avg_sq", "step"}) {}

void AdamW::apply(Update& update) const {
  auto& steps = update.state[2];
  at::_foreach_add_(steps, 1);
  at::_fused_adamw_(update.parameters, update.grads, update.state[0], update.state[1], {}, steps, update.lr, options_.beta1, options_.beta2,
                    update.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

std::unique_ptr<Optimizer> make_optimizer(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options) {
  switch (options.algorithm) {
    case Algorithm::kLars:
      return std::make_unique<Lars>(std::move(groups), options);
    case Algorithm::kLamb:
      return std::make_unique<Lamb>(std::move(groups), options);
    case Algorithm::kSgd:
      return std::make_unique<Sgd>(std::move(groups), options);
    case Algorithm::kAdamW:
      break;
  }
  return std::make_unique<AdamW>(std::move(groups), options);
}

}  // namespace sslmed::train
