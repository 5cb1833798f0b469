#pragma once
// Vision transformer (Dosovitskiy et al., arXiv 2010.11929) over packed tokens of any rank: channel × time, 2-D or 3-D patches.
// Parameter names are timm's.

#include <optional>
#include <string>

#include "nn/encoder.h"
#include "nn/layers.h"

namespace sslmed::nn {

enum class Positions {
  kLearned,    // a table, one row a grid cell (timm)
  kSinCos,     // the same table, fixed (MAE)
  kElectrode,  // a linear map of Fourier features of (x, y, z, t), so that any montage and duration fits
};

struct VitConfig {
  std::string name = "vit_tiny";
  std::vector<std::int64_t> patch_size;  // one entry an axis; {P} with kElectrode: P samples of one channel
  std::vector<std::int64_t> img_size;    // unused with kElectrode
  std::int64_t in_chans = 1;
  std::int64_t dim = 192, depth = 12, heads = 3;
  double mlp_ratio = 4;
  std::int64_t num_classes = 0;
  Positions positions = Positions::kLearned;
  bool class_token = true;                    // in front of the patches
  std::vector<double> pixel_mean, pixel_std;  // one a channel: uint8 values v are seen as (v / 255 - mean) / std; none: as v / 255
  std::int64_t extra_channels = 0;            // rows of the learned table for electrodes without a known position
  Lora lora;                                  // beside attention's matrices

  std::vector<std::int64_t> grid() const;
  std::int64_t patch_values() const;  // numbers in a patch, channels included
};
// Sizes by timm's names: vit_tiny, vit_small, vit_base, vit_large. ValueError for another.
VitConfig named_vit(const std::string& name);

// Cuts dense images [B, C, spatial…] into patches [B, N, P], P in (p…, c) order.
at::Tensor patchify(const at::Tensor& dense, const std::vector<std::int64_t>& patch_size);

// Positions for tokens of either kind; the encoder and MAE's decoder each have one.
class PositionEmbedding : public torch::nn::Module {
 public:
  PositionEmbedding(const VitConfig& config, std::int64_t dim);
  at::Tensor forward(const PatchTokens& tokens) const;  // [ΣN, D]
  at::Tensor class_row() const;                         // [1, D]: what the class token gets; undefined without a table or class token
  // The table itself, to be registered under timm's name by the owner; undefined with kElectrode.
  at::Tensor table;  // [1, 1+N, D], or [1, N, D] without a class token

 private:
  Positions kind_;
  std::int64_t first_;    // row of the first cell in the table
  std::int64_t columns_;  // of a grid of two axes
  std::shared_ptr<Linear> proj_;
  at::Tensor channel_table_;  // [extra, D]
};

class VisionTransformer : public Encoder {
 public:
  VisionTransformer(VitConfig config, std::uint64_t seed);

  const VitConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {config_.dim, config_.depth, config_.heads, config_.class_token, config_.lora.rank}; }
  Encoded forward_tokens(const PatchTokens& tokens, const at::Tensor& keep = {}) const override;
  at::Tensor forward_features(const at::Tensor& dense) const;  // [B, C, spatial…] to [B, 1+N, D]
  // Patches as the network sees them, and as what restores them is compared with: bytes standardised, other numbers as they are.
  at::Tensor standardised(const at::Tensor& values) const;  // [n, P]
  // Class token, or the mean over patches where there is none; through `head` with num_classes > 0.
  at::Tensor forward(const at::Tensor& dense) const;

 private:
  at::Tensor embed(const PatchTokens& tokens) const;  // [ΣN, D] with positions

  VitConfig config_;
  at::Tensor pixel_scale_, pixel_shift_;  // [P], of bytes
  at::Tensor cls_token_, proj_weight_, proj_bias_, pos_table_;
  std::shared_ptr<PositionEmbedding> positions_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> head_;
};

}  // namespace sslmed::nn
