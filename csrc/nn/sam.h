#pragma once
// The image encoder of Segment Anything (Kirillov et al., arXiv 2304.02643), for inputs of rank 1, 2 or 3. Parameter names are timm's.

#include <memory>
#include <vector>

#include "nn/layers.h"
#include "nn/models.h"

namespace sslmed::nn {

struct SamConfig {
  std::int64_t dim = 768, depth = 12, heads = 12;
  std::int64_t mlp_dim = 0;                        // hidden units; 0: four times dim
  std::int64_t window = 14;                        // cells of a window along each axis
  std::vector<std::int64_t> global_blocks;         // those that attend to the whole map
  std::int64_t out_chans = 256;                    // channels after the neck
  std::vector<std::int64_t> patch_size, img_size;  // one number for each axis
};

class SamBlock;

// Transformer blocks over windows, a few over the whole map, with relative positions along each axis, and a neck of two
// convolutions. Other sizes than img_size: position tables are resampled.
class SamEncoder : public DenseEncoder {
 public:
  // ValueError that names the number out of range.
  SamEncoder(DenseShape shape, SamConfig config, std::uint64_t seed);

  const SamConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {config_.out_chans, config_.depth, config_.heads, false, 0}; }
  // `pyramid` has the map after the neck. Dropped paths are those of the blocks.
  Features forward_dense(const at::Tensor& x, const Context& context) const override;
  std::vector<std::int64_t> widths() const override { return {config_.out_chans}; }
  std::vector<std::int64_t> strides() const override { return {config_.patch_size.front()}; }
  std::vector<std::vector<std::int64_t>> axis_strides() const override { return {config_.patch_size}; }
  std::int64_t min_size() const override;

 private:
  at::Tensor embedded(const at::Tensor& x, const Rows& rows, std::vector<std::int64_t>& extents) const;
  at::Tensor through_neck(const at::Tensor& map, const Rows& rows) const;

  SamConfig config_;
  at::Tensor pos_embed_, patch_weight_, patch_bias_;
  at::Tensor neck_in_, neck_out_;
  std::shared_ptr<LayerNorm> neck_norm_in_, neck_norm_out_;
  std::vector<std::shared_ptr<SamBlock>> blocks_;
};

// By the names sam_vit_base, sam_vit_large and sam_vit_huge.
std::shared_ptr<DenseEncoder> build_sam(const ModelConfig& config, ModelOptions& options);

}  // namespace sslmed::nn
