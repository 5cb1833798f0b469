#pragma once
// From an encoder's maps back to the resolution of its input, for any rank.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/conv_layers.h"
#include "nn/layers.h"

namespace sslmed::nn {

// Normalization over groups of channels of each sample (Wu and He, arXiv 1803.08494): samples do not interact.
class GroupNorm : public torch::nn::Module {
 public:
  // Eight groups where they divide the width, otherwise one.
  explicit GroupNorm(std::int64_t width);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return group_norm(x, groups_, weight, bias, 1e-5, rows); }
  at::Tensor weight, bias;  // [width]

 private:
  std::int64_t groups_;
};

// A convolution, group normalization and ReLU on each map, which is then enlarged to the size of the next finer one by
// repeating cells; a last convolution at the resolution of the input.
class ConvDecoder : public torch::nn::Module {
 public:
  // `widths` of the pyramid, fine to coarse. `skips`: every map goes in, not the last one alone. `stride`: input cells along
  // an axis to a cell of the finest map; from there the decoder doubles the map, and halves its width down to 16.
  ConvDecoder(const std::vector<std::int64_t>& widths, std::int64_t rank, std::int64_t out_channels, bool skips, std::int64_t stride = 2);
  // pyramid: [B, D_i, spatial…] fine to coarse; sizes: of the input along each axis. Returns [B, out_channels, sizes…].
  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const std::vector<std::int64_t>& sizes, const Rows& rows) const;

 private:
  std::size_t maps_;
  bool skips_;
  std::vector<std::shared_ptr<Conv>> convs_;
  std::vector<std::shared_ptr<GroupNorm>> norms_;
  std::shared_ptr<Conv> out_;
};

// x [B, C, spatial…] of rank 1 to 3 to `sizes` along each axis, each cell as that of the input which covers it.
at::Tensor enlarge(const at::Tensor& x, const std::vector<std::int64_t>& sizes);

// Patches [B, N, P] in (p…, c) order on a grid of `grid` cells, row-major, to dense [B, C, spatial…]: the inverse of patchify.
at::Tensor unpatchify(const at::Tensor& patches, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& patch_size);

}  // namespace sslmed::nn
