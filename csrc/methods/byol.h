#pragma once
// BYOL (Grill et al., arXiv 2006.07733): from one view, predict what an averaged twin makes of the other. No negatives.

#include "methods/twin_prediction.h"

namespace sslmed::methods {

struct ByolOptions {
  std::int64_t hidden = 4096, out = 256;  // of projector and predictor
  double momentum = 0.99;                 // of the twin at the start; it rises to 1 by half a cosine
  std::uint64_t seed = 0;                 // of the heads' initial weights
};

class Byol : public TwinPrediction {
 public:
  Byol(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const ByolOptions& options,
       std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // The mean of 2 - 2 cos.
  at::Tensor compared(const at::Tensor& predicted, const at::Tensor& target, const nn::Comm& comm) const override;
};

}  // namespace sslmed::methods
