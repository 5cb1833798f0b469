#pragma once
// MoCo v3 (Chen et al., arXiv 2104.02057): from one view, tell what an averaged twin makes of the other from what it makes of all other samples.

#include "methods/twin_prediction.h"

namespace sslmed::methods {

struct MocoOptions {
  double temperature = 0.2;
  std::int64_t hidden = 4096, out = 256;  // of projector (three layers) and predictor (two)
  double momentum = 0.99;                 // of the twin at the start; it rises to 1 by half a cosine
  bool freeze_patches = true;             // the patch embedding stays as it was drawn, against instability
  std::uint64_t seed = 0;                 // of the heads' initial weights
};

class Moco : public TwinPrediction {
 public:
  Moco(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const MocoOptions& options,
       std::shared_ptr<const data::Recipe> recipe = nullptr);
  std::vector<ParameterGroup> parameter_groups() const override;

 private:
  // 2 · temperature · InfoNCE.
  at::Tensor compared(const at::Tensor& predicted, const at::Tensor& target, const nn::Comm& comm) const override;

  MocoOptions options_;
};

}  // namespace sslmed::methods
