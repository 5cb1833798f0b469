#pragma once
// VICReg (Bardes et al., arXiv 2105.04906) and Barlow Twins (Zbontar et al., arXiv 2103.03230): views of a sample agree while features vary and
// do not repeat each other. No negatives, no twin.

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct VicRegOptions {
  double invariance = 25, variance = 25, covariance = 1;  // weights
  std::int64_t hidden = 8192, out = 8192;                 // of the projector, three layers
  std::uint64_t seed = 0;
};

class VicReg : public JointEmbedding {
 public:
  VicReg(std::shared_ptr<nn::Encoder> encoder, const VicRegOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  Loss loss_of(const Views& views, const Step& step) override;

  VicRegOptions options_;
  std::shared_ptr<nn::MlpHead> projector_;
};

struct BarlowTwinsOptions {
  double off_diagonal = 5e-3;              // weight of what features share
  std::int64_t hidden = 8192, out = 8192;  // of the projector, three layers
  std::uint64_t seed = 0;
};

class BarlowTwins : public JointEmbedding {
 public:
  BarlowTwins(std::shared_ptr<nn::Encoder> encoder, const BarlowTwinsOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  Loss loss_of(const Views& views, const Step& step) override;

  BarlowTwinsOptions options_;
  std::shared_ptr<nn::MlpHead> projector_;
};

}  // namespace sslmed::methods
