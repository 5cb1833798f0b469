#pragma once
// VoCo (Wu et al., arXiv 2402.17300): how much does a crop from anywhere overlap each of the crops on a grid?

#include "methods/pretext.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct VoCoOptions {
  std::vector<std::int64_t> grid{3};   // base crops along each axis
  std::int64_t crops = 4;              // drawn of each sample at each step
  std::int64_t hidden = 0, out = 128;  // of the projector; hidden 0: the encoder's width
  double regularization = 1;           // weight of the term that keeps base crops apart
  bool stop_bases = true;              // the overlaps are learned by the drawn crops alone
  std::uint64_t seed = 0;
};

class VoCo : public Pretext {
 public:
  VoCo(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const VoCoOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // The base crops of a sample, row-major, then the drawn ones. Answers are the shares of each drawn crop's cells that lie in
  // each base crop, [B, crops, bases].
  Exercise pose(const DenseView& view) const override;
  Attempt attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const override;

  VoCoOptions options_;
  std::vector<std::int64_t> grid_;
  std::shared_ptr<nn::MlpHead> projector_;
};

// [B]: for similarities p = relu(cos) and overlaps y, both [B, crops, bases], the mean of -log(1 - |y - p|) weighted by y, plus the mean of p² where y is 0.
at::Tensor overlap_loss(const at::Tensor& similarity, const at::Tensor& overlap);

}  // namespace sslmed::methods
