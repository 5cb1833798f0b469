#pragma once
// What stands between an encoder's features and the loss of a method: projectors, predictors and prototypes.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/batch_norm.h"
#include "nn/layers.h"

namespace sslmed::nn {

struct MlpHeadConfig {
  std::int64_t in = 0, hidden = 2048, out = 128;
  std::int64_t layers = 2;  // matrices
  bool norm = true;         // batch normalization over all ranks after each hidden layer
  bool last_norm = false;   // and after the last one
};

// Matrices with batch normalization and ReLU between them: SimCLR's and VICReg's projector, BYOL's projector and predictor.
class MlpHead : public torch::nn::Module {
 public:
  explicit MlpHead(const MlpHeadConfig& config);
  at::Tensor forward(const at::Tensor& x, const Comm& comm = Comm::alone()) const;  // [B, in] to [B, out]

 private:
  std::vector<std::shared_ptr<Linear>> layers_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;
};

struct PrototypeHeadConfig {
  std::int64_t in = 0, hidden = 2048, bottleneck = 256, prototypes = 65536;
  std::int64_t layers = 3;  // matrices before the prototypes
};

// Matrices with GELU between them, a unit vector, and its cosine with unit prototypes: DINO's head.
class PrototypeHead : public torch::nn::Module {
 public:
  explicit PrototypeHead(const PrototypeHeadConfig& config);
  at::Tensor forward(const at::Tensor& x) const;  // [n, in] to [n, prototypes]
  const at::Tensor& prototypes() const noexcept { return prototypes_; }

 private:
  std::vector<std::shared_ptr<Linear>> layers_;
  at::Tensor prototypes_;  // [prototypes, bottleneck], of any length
};

}  // namespace sslmed::nn
