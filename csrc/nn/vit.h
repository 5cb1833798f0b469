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
  std::int64_t mlp_dim = 0;  // as in BlockConfig
  Mlp mlp = Mlp::kGelu;
  double layer_scale = 0;      // initial value of layer scale; 0: none
  bool pre_norm = false;       // a layer norm "norm_pre" before the blocks (CLIP)
  double norm_eps = 1e-6;      // of all layer norms
  std::int64_t registers = 0;  // learned tokens "reg_token" after the class token (Darcet et al., arXiv 2309.16588)
  std::int64_t num_classes = 0;
  bool class_token = true;  // in front of the patches
  Lora lora;                // beside attention's matrices
  BlockConfig block() const { return {mlp_ratio, mlp_dim, mlp, layer_scale, norm_eps, lora}; }
};
// Sizes by timm's names: vit_tiny, vit_small, vit_base, vit_large; and CLIP's vision towers clip_vit_base_patch32,
// clip_vit_base_patch16 and clip_vit_large_patch14 (Radford et al., arXiv 2103.00020). ValueError for another.
VitConfig named_vit(const std::string& name);
// Names that named_vit takes.
std::vector<std::string> vit_names();

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
  // The same for dense images [B, C, spatial…].
  at::Tensor standardized_dense(const at::Tensor& dense) const;
  at::Tensor class_row() const { return positions_ ? positions_->class_row() : at::Tensor(); }
  // How queries and keys of these tokens are turned; undefined where positions are added instead.
  Rotation rotation(const PatchTokens& tokens, std::int64_t head_dim) const;

 private:
  EmbeddingConfig config_;
  at::Tensor pixel_scale_, pixel_shift_;  // [P], of bytes
  at::Tensor weight_, bias_;
  std::shared_ptr<PositionEmbedding> positions_;  // null with rotary positions
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
  EncoderShape shape() const override { return {config_.dim, config_.depth, config_.heads, config_.class_token, config_.lora.rank, config_.registers}; }
  std::int64_t prefix() const { return (config_.class_token ? 1 : 0) + config_.registers; }
  // Packed tokens, or dense images of the first embedding, of any size that patches divide.
  Features forward_view(const Input& view, const Context& context = {}) const override;
  // Tokens of several kinds in one pass: the features of all sequences, view after view. `context` counts them in that order.
  Features forward_views(const std::vector<PatchTokens>& views, const Context& context = {}) const;
  std::vector<Features> forward_all(const std::vector<Input>& views, const std::vector<Context>& contexts) const override;
  at::Tensor forward_features(const at::Tensor& dense) const;  // [B, C, spatial…] to [B, prefix+N, D]
  // Class token, or the mean over patches where there is none; through `head` with num_classes > 0.
  at::Tensor forward(const at::Tensor& dense) const;
  // Dense images as the first embedding sees them.
  at::Tensor standardized_dense(const at::Tensor& dense) const { return embeddings_.front().standardized_dense(dense); }
  // Dense images as tokens of the first embedding.
  PatchTokens tokens_of(const at::Tensor& dense) const;

 private:
  void check_config() const;
  // Embedded tokens of one view with the class token and registers in front, and how they are turned.
  at::Tensor embed(const PatchTokens& view, Rotation& rotation) const;

  VitConfig config_;
  at::Tensor cls_token_, reg_token_;
  std::vector<PatchEmbedding> embeddings_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_pre_, norm_;
  std::shared_ptr<Linear> head_;
};

}  // namespace sslmed::nn
