#pragma once
// Prediction of a turn (RotNet: Gidaris et al., arXiv 1803.07728; in 3-D Taleb et al., arXiv 2006.03829).

#include "methods/pretext.h"

namespace sslmed::methods {

struct RotationOptions {
  bool all_turns = false;  // every sample in all turns at each step, as the paper does, instead of in one that is drawn
  std::uint64_t seed = 0;
};

// Classes by rank: 1: as it is, or reversed; 2: no to three quarter turns; 3: as it is, then one to three quarter turns about
// each axis, 10 in all.
std::int64_t turns_of_rank(std::int64_t rank);
// x [C, spatial…] in the turn of that number. The turned axes must be equally long.
at::Tensor turned(const at::Tensor& x, std::int64_t turn);

class Rotation : public Pretext {
 public:
  Rotation(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const RotationOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // The middle of each sample with equal sides, turned. Answers are the turns' numbers [B · copies] int64.
  Exercise pose(const DenseView& view) const override;
  Attempt attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const override;

  RotationOptions options_;
  std::int64_t rank_;
  std::shared_ptr<nn::Linear> head_;
};

}  // namespace sslmed::methods
