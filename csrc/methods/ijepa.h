#pragma once
// I-JEPA (Assran et al., arXiv 2301.08243): from a context, predict what an averaged encoder makes of target blocks. Nothing is
// restored in signal space. On packed tokens of any rank.

#include <map>
#include <string>

#include "methods/objective.h"
#include "methods/teacher.h"
#include "nn/vit.h"

namespace sslmed::methods {

struct IJepaOptions {
  std::int64_t predictor_dim = 384, predictor_depth = 6, predictor_heads = 0;  // heads 0: as many as the encoder
  double ema_start = 0.996, ema_end = 1.0;                                     // the target encoder's momentum, linear over the run
  bool cut_contexts = false;                                                   // to the batch's smallest one (the published code)
  std::uint64_t seed = 0;                                                      // of the predictor's initial weights
};

class IJepa : public Objective {
 public:
  // `encoder` sees contexts; the target encoder starts as its copy. `recipe` cuts samples, with multi-block masks.
  IJepa(std::shared_ptr<nn::VisionTransformer> encoder, const IJepaOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  // A batch of several embeddings: the mean over all predicted tokens of their losses.
  Loss loss(const data::Batch& batch, const Step& step) override;
  void after_step(const Step& step) override;
  // The target encoder, which is the one to keep.
  std::shared_ptr<nn::Encoder> encoder() const override { return target_; }

  struct Prediction {
    at::Tensor loss;    // scalar
    at::Tensor pred;    // [ΣM, D], targets block by block
    at::Tensor target;  // [ΣM, D], normalised, without gradient
    at::Tensor pooled;  // [B, D] of the target encoder
  };
  // context [ΣK] and targets [ΣM]: rows of tokens.values; context_lengths [B]; block_lengths [B·blocks], each sample's blocks of one length.
  Prediction forward(const nn::PatchTokens& tokens, const at::Tensor& context, const at::Tensor& targets, const nn::Lengths& context_lengths,
                     const nn::Lengths& block_lengths, const nn::Context& known = {}) const;
  // The same for dense images [B, C, spatial…] with context [B, K] and targets [B, blocks, M] patch numbers.
  Prediction forward_dense(const at::Tensor& dense, const at::Tensor& context, const at::Tensor& targets) const;

 private:
  IJepaOptions options_;
  std::shared_ptr<const data::Recipe> recipe_;
  std::shared_ptr<nn::VisionTransformer> encoder_, target_;
  std::shared_ptr<nn::Linear> embed_, proj_;
  at::Tensor mask_token_;
  std::map<std::string, std::shared_ptr<nn::PositionEmbedding>> positions_;  // by modality
  std::vector<std::shared_ptr<nn::Block>> blocks_;
  std::shared_ptr<nn::LayerNorm> norm_;
  std::unique_ptr<Teacher> teacher_;
};

}  // namespace sslmed::methods
