#pragma once
// Optimizers over parameter groups: AdamW (Loshchilov and Hutter, arXiv 1711.05101) by torch's fused kernel, LARS (You et al., arXiv 1708.03888), LAMB
// (You et al., arXiv 1904.00962), and stochastic gradient descent with momentum.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "methods/objective.h"

namespace sslmed::train {

enum class Algorithm { kAdamW, kLars, kLamb, kSgd };

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.05;  // eps: of AdamW
  Algorithm algorithm = Algorithm::kAdamW;
  double momentum = 0.9;  // of LARS and SGD
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  void zero_grad();
  // Multiplies all gradients by `scale`, and gives their global norm; with `max_norm` > 0 they are scaled down to it.
  double clip(double max_norm, double scale = 1);
  void step(double lr) { step(lr, options_.weight_decay); }
  void step(double lr, double weight_decay);

  // Moments and step counts by parameter name ("exp_avg.<name>" …), for checkpoints. Loading checks names and shapes.
  std::map<std::string, at::Tensor> state() const;
  void load(const std::map<std::string, at::Tensor>& state);

 protected:
  // Of the parameters of one group that have gradients. `state` has one list for each name given to the constructor.
  struct Update {
    std::vector<at::Tensor> parameters, grads;
    std::vector<std::vector<at::Tensor>> state;
    double lr = 0, weight_decay = 0;
    bool decays = true;  // false: biases, norms and tokens, which LARS and LAMB do not scale either
  };
  // `names`: of what is kept for each parameter, of its shape; "step" is a scalar instead.
  Optimizer(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options, std::vector<std::string> names);
  virtual void apply(Update& update) const = 0;

  const OptimizerOptions options_;

 private:
  struct Group {
    methods::ParameterGroup parameters;
    std::vector<std::vector<at::Tensor>> state;
  };
  std::vector<std::string> names_;
  std::vector<Group> groups_;
};

class AdamW : public Optimizer {
 public:
  AdamW(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options);

 private:
  void apply(Update& update) const override;
};

std::unique_ptr<Optimizer> make_optimizer(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options);

}  // namespace sslmed::train
