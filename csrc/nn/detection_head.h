#pragma once
// From a map of features to what a detector says of each of its cells: a convolution, ReLU, and a linear map.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>

#include "nn/conv_layers.h"

namespace sslmed::nn {

struct DetectionHeadConfig {
  std::int64_t rank = 2, in = 32;
  std::int64_t scores = 1;   // first channels, logits of something rare: their bias starts at the logit of `prior`
  std::int64_t numbers = 0;  // channels after them, which start near 0
  double prior = 0.1;        // as in CenterNet (arXiv 1904.07850)
  std::uint64_t seed = 0;
};

class DetectionHead : public torch::nn::Module {
 public:
  // Registers its convolutions as "hidden" and "out".
  explicit DetectionHead(const DetectionHeadConfig& config);
  // [B, in, spatial…] to [B, scores + numbers, spatial…]; one row of `rows` a sample.
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const;

 private:
  std::shared_ptr<Conv> hidden_, out_;
};

}  // namespace sslmed::nn
