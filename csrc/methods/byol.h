#pragma once
// BYOL (Grill et al., arXiv 2006.07733): from one view, predict what an averaged twin makes of the other. No negatives.

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct ByolOptions {
  std::int64_t hidden = 4096, out = 256;  // of projector and predictor
  double momentum = 0.99;                 // of the twin at the start; it rises to 1 by half a cosine
  std::uint64_t seed = 0;                 // of the heads' initial weights
};

class Byol : public JointEmbedding {
 public:
  Byol(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const ByolOptions& options,
       std::shared_ptr<const data::Recipe> recipe = nullptr);
  void after_step(const Step& step) override;

 private:
  // The sum over both orders of 2 - 2 cos, for each pair of global views.
  Loss loss_of(const Views& views, const Step& step) override;

  ByolOptions options_;
  std::shared_ptr<nn::MlpHead> projector_, predictor_, twin_projector_;
  std::vector<Teacher> teachers_;
};

}  // namespace sslmed::methods
