#pragma once
// SimMIM (Xie et al., arXiv 2111.09886): cells of a grid are hidden in the input of any encoder, and a light head restores them.

#include "methods/reconstruction.h"

namespace sslmed::methods {

struct SimMimOptions {
  ReconstructionOptions reconstruction{.distance = Distance::kL1, .light = true};
  std::vector<std::int64_t> mask_cell;  // input cells of a cell of the mask along each axis; empty: those of the last map
  double ratio = 0.6;                   // share of cells that is hidden
  bool learned_fill = true;             // a learned number for each channel stands in hidden cells; otherwise 0
  bool norm_target = false;             // each channel of each cell by its own mean and variance
};

class SimMim : public Reconstruction {
 public:
  SimMim(std::shared_ptr<nn::Encoder> encoder, const SimMimOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // Answers are what is hidden, [B, 1, spatial…] bool.
  Exercise pose(const DenseView& view) const override;
  at::Tensor target(const DenseView& view) const override;

  SimMimOptions options_;
  std::vector<std::int64_t> mask_cell_;
  at::Tensor mask_value_;  // [C]
};

}  // namespace sslmed::methods
