#pragma once
// Optimizers for large batches, which scale each layer's step by the norms of its weights and of the step; and the descent that LARS is made of.

#include <vector>

#include "train/optimizer.h"

namespace sslmed::train {

// v = momentum * v + g + weight_decay * w; w -= lr * v. As torch.optim.SGD: the learning rate is outside of the momentum.
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options);

 protected:
  void apply(Update& update) const override;
};

// SGD whose g + weight_decay * w is first multiplied by 1e-3 |w| / (|g| + weight_decay |w| + 1e-8), where both norms are positive. Parameters that do not
// decay (biases, norms, tokens) are not scaled, as in SimCLR; timm.optim.Lars goes by weight_decay != 0 instead. The paper, and SimCLR's code, have the
// learning rate inside of the momentum: the same while it is constant.
class Lars : public Sgd {
 public:
  using Sgd::Sgd;

 private:
  void apply(Update& update) const override;
};

// Adam's step (bias-corrected, eps 1e-6) plus weight_decay * w, scaled to the norm of w, where both norms are positive. Parameters that do not decay are
// not scaled. Gradients are not clipped here, as timm.optim.Lamb does by default: that is the trainer's clip_norm.
class Lamb : public Optimizer {
 public:
  Lamb(std::vector<methods::ParameterGroup> groups, const OptimizerOptions& options);

 private:
  void apply(Update& update) const override;
};

}  // namespace sslmed::train
