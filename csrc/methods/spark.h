#pragma once
// SparK (Tian et al., arXiv 2301.03580): masked image modeling of convolutional networks, whose hidden cells are as if they were not there.

#include "methods/reconstruction.h"

namespace sslmed::methods {

struct SparkOptions {
  double ratio = 0.6;       // share of cells of the encoder's last map that is hidden
  bool norm_target = true;  // each channel of each cell by its own mean and variance
  bool scored_all = false;  // the loss is over all values, not over the hidden ones alone
  std::uint64_t seed = 0;
};

class Spark : public Reconstruction {
 public:
  // ValueError for an encoder that cannot leave out cells.
  Spark(std::shared_ptr<nn::Encoder> encoder, const SparkOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // Answers are what is hidden, [B, 1, spatial…] bool.
  Exercise pose(const DenseView& view) const override;
  nn::Features encode(const Exercise& exercise, const DenseView& view, const nn::Context& context) const override;
  // Each map with a learned vector in its hidden cells.
  std::vector<at::Tensor> maps(const nn::Features& features, const Exercise& exercise) const override;
  at::Tensor target(const DenseView& view) const override;
  // [B, cells of the last map…] of an answer.
  at::Tensor visible_cells(const at::Tensor& hidden) const;

  SparkOptions options_;
  std::vector<at::Tensor> mask_tokens_;  // [D_i] of each map
};

}  // namespace sslmed::methods
