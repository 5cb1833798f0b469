#pragma once
// Masked auto-encoder (He et al., arXiv 2111.06377), on packed tokens of any rank. The encoder sees kept patches only.

#include "methods/objective.h"
#include "nn/vit.h"

namespace sslmed::methods {

// What the decoder restores.
enum class Target {
  kSignal,    // the patch itself (the paper)
  kSpectrum,  // log power of its Fourier coefficients: what a patch of noise-like signal has that can be predicted
};

struct MaeOptions {
  std::int64_t decoder_dim = 512, decoder_depth = 8, decoder_heads = 16;
  Target target = Target::kSignal;
  std::int64_t target_bins = 1;                // kSpectrum: neighbouring coefficients whose power is averaged; the constant is left out if more than 1
  bool norm_target = true;                     // each target patch by its own mean and (unbiased) variance
  std::shared_ptr<const data::Recipe> recipe;  // cuts and masks samples
};

class Mae : public Objective {
 public:
  Mae(std::shared_ptr<nn::VisionTransformer> encoder, const MaeOptions& options, std::uint64_t seed);

  std::shared_ptr<const data::Recipe> recipe() const override { return options_.recipe; }
  Loss loss(const data::Batch& batch, const Step& step) override;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

  struct Prediction {
    at::Tensor loss;    // scalar
    at::Tensor pred;    // [ΣM, P] of the masked patches; [ΣM, P/2 + 1] with kSpectrum, or the number of bands
    at::Tensor latent;  // [Σ(1+K), D] of the encoder
    at::Tensor pooled;  // [B, D]
  };
  // keep [ΣK], masked [ΣM]: rows of tokens.values; keep_lengths [B].
  Prediction forward(const nn::PatchTokens& tokens, const at::Tensor& keep, const at::Tensor& masked, const std::vector<std::int64_t>& keep_lengths) const;
  // The same for dense images [B, C, spatial…] with keep [B, K] and masked [B, M] patch numbers.
  Prediction forward_dense(const at::Tensor& dense, const at::Tensor& keep, const at::Tensor& masked) const;

 private:
  at::Tensor target_of(const at::Tensor& patches) const;  // [M, P] to what pred_ gives

  MaeOptions options_;
  std::shared_ptr<nn::VisionTransformer> encoder_;
  std::shared_ptr<nn::Linear> embed_, pred_;
  at::Tensor mask_token_;
  std::shared_ptr<nn::PositionEmbedding> positions_;
  std::vector<std::shared_ptr<nn::Block>> blocks_;
  std::shared_ptr<nn::LayerNorm> norm_;
};

}  // namespace sslmed::methods
