#pragma once
// Jigsaw puzzles (Noroozi and Favaro, arXiv 1603.09246; in 3-D Taleb et al., arXiv 2006.03829): in which order were tiles
// of a sample shuffled?

#include "methods/pretext.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct JigsawOptions {
  std::vector<std::int64_t> grid{3};  // tiles along each axis
  std::int64_t permutations = 100;    // classes
  double gap = 0.15;                  // share of a cell's length that its tile leaves free; it is placed there at random
  bool norm_tiles = true;             // each channel of a tile by its own mean and standard deviation
  std::int64_t tile_dim = 64, hidden = 256;
  std::uint64_t seed = 0;
};

class Jigsaw : public Pretext {
 public:
  // `rank`: spatial axes of the views.
  Jigsaw(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const JigsawOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  const std::vector<std::vector<std::int32_t>>& permutations() const noexcept { return permutations_; }

 private:
  // Tiles in their shuffled order: place p shows tile permutation[p]. Answers are the permutations' numbers [B] int64.
  Exercise pose(const DenseView& view) const override;
  Attempt attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const override;

  JigsawOptions options_;
  std::vector<std::int64_t> grid_;
  std::vector<std::vector<std::int32_t>> permutations_;
  std::shared_ptr<nn::Linear> tile_;
  std::shared_ptr<nn::MlpHead> head_;
};

}  // namespace sslmed::methods
