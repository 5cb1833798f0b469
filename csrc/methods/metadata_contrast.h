#pragma once
// Contrastive learning by metadata such as age: samples attract each other by how similar theirs are. y-Aware (Dufumier
// et al., arXiv 2106.08808) and L^exp (Barbano et al., arXiv 2211.08326).

#include <memory>
#include <string>
#include <vector>

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

enum class MetadataKernel {
  kYAware,  // soft targets
  kLExp,    // and others are repelled less the more similar they are
};

struct MetadataContrastOptions {
  std::vector<std::string> targets;  // numbers of the batch (data::Batch::targets)
  std::vector<double> sigmas;        // widths of the kernel, one a target in its unit
  MetadataKernel kernel = MetadataKernel::kYAware;
  double temperature = 0.1;
  std::int64_t hidden = 0, out = 128, layers = 2;  // of the projector; hidden 0: the encoder's width
  std::uint64_t seed = 0;                          // of the projector's initial weights
};

class MetadataContrast : public JointEmbedding {
 public:
  MetadataContrast(std::shared_ptr<nn::Encoder> encoder, const MetadataContrastOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // The mean over all pairs of global views.
  Loss loss_of(const Views& views, const Step& step) override;
  at::Tensor metadata_of(const Views& views) const;  // [B, targets] in units of sigma; NaN where a sample has none

  MetadataContrastOptions options_;
  std::shared_ptr<nn::MlpHead> projector_;
};

}  // namespace sslmed::methods
