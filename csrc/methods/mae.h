#pragma once
// Masked auto-encoder (He et al., arXiv 2111.06377), on packed tokens of any rank. The encoder sees visible patches only.

#include <map>
#include <string>

#include "methods/objective.h"
#include "nn/vit.h"

namespace sslmed::methods {

// What the decoder reconstructs.
enum class Reconstruct {
  kSignal,    // the patch itself (the paper)
  kSpectrum,  // log power of its Fourier coefficients: what a patch of noise-like signal has that can be predicted
};

struct MaeOptions {
  std::int64_t decoder_dim = 512, decoder_depth = 8, decoder_heads = 16;
  Reconstruct reconstruct = Reconstruct::kSignal;
  std::int64_t reconstruct_bins = 1;  // kSpectrum: neighbouring coefficients whose power is averaged; the constant is left out if more than 1
  bool norm_target = true;            // each patch by its own mean and (unbiased) variance
  std::uint64_t seed = 0;             // of the decoder's initial weights
};

class Mae : public Objective {
 public:
  // `recipe` cuts and masks samples.
  Mae(std::shared_ptr<nn::VisionTransformer> encoder, const MaeOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  // A batch of several embeddings: the mean over all masked patches of their losses.
  Loss loss(const data::Batch& batch, const Step& step) override;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

  struct Prediction {
    at::Tensor loss;    // scalar
    at::Tensor pred;    // [ΣM, P] of the masked patches; [ΣM, P/2 + 1] with kSpectrum, or the number of bands
    at::Tensor latent;  // [Σ(1+K), D] of the encoder
    at::Tensor pooled;  // [B, D]
  };
  // visible [ΣK], masked [ΣM]: rows of tokens.values; visible_lengths, masked_lengths [B].
  Prediction forward(const nn::PatchTokens& tokens, const at::Tensor& visible, const at::Tensor& masked, const nn::Lengths& visible_lengths,
                     const nn::Lengths& masked_lengths, const nn::Context& context = {}) const;
  // The same for dense images [B, C, spatial…] with visible [B, K] and masked [B, M] patch numbers.
  Prediction forward_dense(const at::Tensor& dense, const at::Tensor& visible, const at::Tensor& masked) const;

 private:
  // What each embedding has of its own in the decoder.
  struct End {
    std::shared_ptr<nn::PositionEmbedding> positions;
    std::shared_ptr<nn::Linear> pred;
  };
  End end(torch::nn::Module& owner, const nn::EmbeddingConfig& config) const;
  at::Tensor target_of(const at::Tensor& patches) const;  // [M, P] to what the end's `pred` gives

  MaeOptions options_;
  std::shared_ptr<const data::Recipe> recipe_;
  std::shared_ptr<nn::VisionTransformer> encoder_;
  std::shared_ptr<nn::Linear> embed_;
  at::Tensor mask_token_;
  std::vector<std::shared_ptr<nn::Block>> blocks_;
  std::shared_ptr<nn::LayerNorm> norm_;
  std::map<std::string, End> ends_;  // by modality
};

}  // namespace sslmed::methods
