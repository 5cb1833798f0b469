#pragma once
// Vision transformer (Dosovitskiy et al., arXiv 2010.11929) over packed tokens of any rank: channel × time, 2-D or 3-D patches.
// Parameter names are timm's.

#include <string>
#include <vector>

#include "nn/encoder.h"
#include "nn/layers.h"
#include "nn/positions.h"

namespace sslmed::nn {

struct VitConfig {
  std::string name = "vit_tiny";
  EmbeddingConfig embedding;          // its parameters have timm's names
  std::vector<EmbeddingConfig> more;  // of other modalities, under "embeddings.<modality>"; adding one changes no weight of the others
  std::int64_t dim = 192, depth = 12, heads = 3;
  double mlp_ratio = 4;
  std::int64_t num_classes = 0;
  bool class_token = true;  // in front of the patches
  Lora lora;                // beside attention's matrices
};
// Sizes by timm's names: vit_tiny, vit_small, vit_base, vit_large. ValueError for another.
VitConfig named_vit(const std::string& name);

// Cuts dense images [B, C, spatial…] into patches [B, N, P], P in (p…, c) order.
at::Tensor patchify(const at::Tensor& dense, const std::vector<std::int64_t>& patch_size);

// Patches of one kind to tokens: a linear map and positions. Its leaves lie in the module that owns it.
class PatchEmbedding {
 public:
  PatchEmbedding(torch::nn::Module& owner, EmbeddingConfig config, std::int64_t dim, bool class_token);
  const EmbeddingConfig& config() const noexcept { return config_; }
  at::Tensor forward(const PatchTokens& tokens) const;  // [ΣN, D]
  // Patches as the network sees them, and as what restores them is compared with: bytes standardised, other numbers as they are.
  at::Tensor standardized(const at::Tensor& values) const;  // [n, P]
  at::Tensor class_row() const { return positions_->class_row(); }

 private:
  EmbeddingConfig config_;
  at::Tensor pixel_scale_, pixel_shift_;  // [P], of bytes
  at::Tensor weight_, bias_;
  std::shared_ptr<PositionEmbedding> positions_;
};

// The seed of what belongs to an embedding that came later: of its modality's name, so that none depends on which others there are.
std::uint64_t seed_of(const std::string& modality, std::uint64_t seed);

class VisionTransformer : public Encoder {
 public:
  VisionTransformer(VitConfig config, std::uint64_t seed);

  const VitConfig& config() const noexcept { return config_; }
  // The embedding of tokens by their key; ValueError naming what there is.
  const PatchEmbedding& embedding(const EmbeddingKey& key) const;
  const PatchEmbedding& embedding_of(const std::string& modality) const;
  EncoderShape shape() const override { return {config_.dim, config_.depth, config_.heads, config_.class_token, config_.lora.rank}; }
  // Packed tokens, or dense images of the first embedding, of any size that patches divide.
  Features forward_view(const Input& view, const Context& context = {}) const override;
  // Tokens of several kinds in one pass: the features of all sequences, view after view. `context` counts them in that order.
  Features forward_views(const std::vector<PatchTokens>& views, const Context& context = {}) const;
  std::vector<Features> forward_all(const std::vector<Input>& views, const std::vector<Context>& contexts) const override;
  at::Tensor forward_features(const at::Tensor& dense) const;  // [B, C, spatial…] to [B, 1+N, D]
  // Class token, or the mean over patches where there is none; through `head` with num_classes > 0.
  at::Tensor forward(const at::Tensor& dense) const;
  // Dense images as tokens of the first embedding.
  PatchTokens tokens_of(const at::Tensor& dense) const;

 private:
  VitConfig config_;
  at::Tensor cls_token_;
  std::vector<PatchEmbedding> embeddings_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> head_;
};

}  // namespace sslmed::nn
