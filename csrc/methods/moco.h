#pragma once
// MoCo v3 (Chen et al., arXiv 2104.02057): from one view, tell what an averaged twin makes of the other from what it makes of all other samples.

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct MocoOptions {
  double temperature = 0.2;
  std::int64_t hidden = 4096, out = 256;  // of projector (three layers) and predictor (two)
  double momentum = 0.99;                 // of the twin at the start; it rises to 1 by half a cosine
  bool freeze_patches = true;             // the patch embedding stays as it was drawn, against instability
  std::uint64_t seed = 0;                 // of the heads' initial weights
};

class Moco : public JointEmbedding {
 public:
  Moco(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const MocoOptions& options,
       std::shared_ptr<const data::Recipe> recipe = nullptr);
  void after_step(const Step& step) override;
  std::vector<ParameterGroup> parameter_groups() const override;

 private:
  // The sum over both orders of 2·temperature·InfoNCE, for each pair of global views.
  Loss loss_of(const Views& views, const Step& step) override;

  MocoOptions options_;
  std::shared_ptr<nn::MlpHead> projector_, predictor_, twin_projector_;
  std::vector<Teacher> teachers_;
};

}  // namespace sslmed::methods
