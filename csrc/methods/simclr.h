#pragma once
// SimCLR (Chen et al., arXiv 2002.05709): two views of a sample attract each other, those of all other samples repel.

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct SimClrOptions {
  double temperature = 0.1;
  std::int64_t hidden = 0, out = 128, layers = 2;  // of the projector; hidden 0: the encoder's width
  std::uint64_t seed = 0;                          // of the projector's initial weights
};

class SimClr : public JointEmbedding {
 public:
  SimClr(std::shared_ptr<nn::Encoder> encoder, const SimClrOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // The mean over all pairs of global views.
  Loss loss_of(const Views& views, const Step& step) override;

  SimClrOptions options_;
  std::shared_ptr<nn::MlpHead> projector_;
};

}  // namespace sslmed::methods
