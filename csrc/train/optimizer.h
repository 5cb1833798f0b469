#pragma once
// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over parameter groups, by torch's fused kernel.

#include <map>
#include <string>
#include <vector>

#include "methods/objective.h"

namespace sslmed::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.05;
};

class AdamW {
 public:
  AdamW(std::vector<methods::ParameterGroup> groups, const AdamWOptions& options);

  void zero_grad();
  // Multiplies all gradients by `scale`, and gives their global norm; with `max_norm` > 0 they are scaled down to it.
  double clip(double max_norm, double scale = 1);
  void step(double lr) { step(lr, options_.weight_decay); }
  void step(double lr, double weight_decay);

  // Moments and step counts by parameter name ("exp_avg.<name>" …), for checkpoints. Loading checks names and shapes.
  std::map<std::string, at::Tensor> state() const;
  void load(const std::map<std::string, at::Tensor>& state);

 private:
  struct Group {
    methods::ParameterGroup parameters;
    std::vector<at::Tensor> exp_avg, exp_avg_sq, steps;
  };
  std::vector<Group> groups_;
  AdamWOptions options_;
};

}  // namespace sslmed::train
