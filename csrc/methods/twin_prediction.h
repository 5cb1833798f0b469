#pragma once
// What BYOL and MoCo v3 share: heads that predict, from one view, what an averaged twin makes of the other.

#include <memory>
#include <string>
#include <vector>

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

class TwinPrediction : public JointEmbedding {
 public:
  // The twin of encoder and projector follows by half a cosine.
  void after_step(const Step& step) override;

 protected:
  // The projector's `in` is the encoder's width. `momentum` of the twin at the start; `seed` of the heads' initial weights.
  TwinPrediction(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, nn::MlpHeadConfig projector,
                 const nn::MlpHeadConfig& predictor, double momentum, std::uint64_t seed, std::shared_ptr<const data::Recipe> recipe);
  // Of the predictions from one view and the twin's answers to another, both [B, D]; B is 0 on a rank without samples.
  virtual at::Tensor compared(const at::Tensor& predicted, const at::Tensor& target, const nn::Comm& comm) const = 0;

 private:
  // The sum over both orders, for each pair of global views.
  Loss loss_of(const Views& views, const Step& step) final;

  double momentum_;
  std::shared_ptr<nn::MlpHead> projector_, predictor_, twin_projector_;
  std::vector<Teacher> teachers_;
};

}  // namespace sslmed::methods
