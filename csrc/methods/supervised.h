#pragma once
// Learning from labels: an encoder with a head on top, trained whole (fine-tuning), by adapters (LoRA), or the head alone (probes).

#include "data/patch_recipe.h"
#include "methods/objective.h"

namespace sslmed::methods {

// What the head sees of a sample.
enum class Readout { kMean, kClassToken, kAttentive };
// What is trained besides the head.
enum class Tuned { kEncoder, kAdapters, kNothing };

struct SupervisedOptions {
  std::string target;                 // a name in Batch::targets: the number of the class, or what is regressed
  std::int64_t classes = 0;           // 0: regression
  std::vector<double> class_weights;  // [classes] or empty
  double label_smoothing = 0;
  double mean = 0, scale = 1;  // of a regressed target: the head gives (target - mean) / scale
  Readout readout = Readout::kMean;
  std::int64_t readout_heads = 0;  // kAttentive; 0: as many as the encoder
  Tuned tuned = Tuned::kEncoder;
  double layer_decay = 1;           // of the learning rate, block by block from the head down (timm's groups)
  double drop_path = 0;             // of the last block, rising in a line from none (Huang et al., arXiv 1603.09382)
  std::uint64_t seed = 0;           // of the head's weights and of dropped paths
  data::PatchRecipeOptions recipe;  // patch size
};

class Supervised : public Objective {
 public:
  Supervised(std::shared_ptr<nn::VisionTransformer> encoder, const SupervisedOptions& options);

  std::shared_ptr<const data::Recipe> recipe() const override;
  Loss loss(const data::Batch& batch, const Step& step) override;
  std::vector<ParameterGroup> parameter_groups() const override;
  std::shared_ptr<nn::VisionTransformer> encoder() const override { return encoder_; }

  std::int64_t outputs() const { return options_.classes > 0 ? options_.classes : 1; }
  // [B, classes] logits, or [B, 1] of the regressed target in its own unit. `keep` as the encoder takes it.
  at::Tensor forward(const nn::PatchTokens& tokens, const at::Tensor& keep = {}) const;

 private:
  at::Tensor drop_paths(const data::Batch& batch, const data::PatchBatch& view) const;  // [2·depth, B], or undefined

  SupervisedOptions options_;
  std::shared_ptr<nn::VisionTransformer> encoder_;
  std::shared_ptr<nn::AttentivePool> pool_;
  std::shared_ptr<nn::Linear> head_;
};

}  // namespace sslmed::methods
