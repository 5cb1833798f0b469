#pragma once
// Learning from labels: an encoder with a head on top, trained whole (fine-tuning), by adapters (LoRA), or the head alone (probes).

#include "methods/objective.h"
#include "nn/layers.h"

namespace sslmed::tasks {

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
  double layer_decay = 1;  // of the learning rate, block by block from the head down (timm's groups)
  double drop_path = 0;    // of the last block, rising in a line from none (Huang et al., arXiv 1603.09382)
  // Robustness to groups (GroupDRO, Sagawa et al., arXiv 1911.08731): the target "group" numbers them, and the groups that do worst weigh most.
  std::int64_t groups = 0;   // 0: none
  double group_step = 0.01;  // of the weights' exponentiated ascent
  // Features that do not tell domains apart (DANN, Ganin et al., arXiv 1505.07818): the target "domain" numbers them; samples without a value of the
  // task's own target take part in this alone.
  std::int64_t domains = 0;    // 0: none
  double domain_weight = 0.1;  // of the reversed gradient, reached from 0 as in the paper
  std::uint64_t seed = 0;      // of the head's weights and of dropped paths
};

class Supervised : public methods::Objective {
 public:
  // `recipe` cuts samples.
  Supervised(std::shared_ptr<nn::Encoder> encoder, const SupervisedOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override;
  at::Tensor absent(const methods::Step& step) override;
  // An encoder that is not tuned as a whole stays as it is: in evaluation, with its running statistics.
  void train(bool on = true) override {
    methods::Objective::train(on);
    if (options_.tuned != Tuned::kEncoder) encoder_->train(false);
  }
  std::vector<methods::ParameterGroup> parameter_groups() const override;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

  std::int64_t outputs() const { return options_.classes > 0 ? options_.classes : 1; }
  // [B, classes] logits, or [B, 1] of the regressed target in its own unit.
  at::Tensor forward(const nn::Input& view, const nn::Context& context = {}) const;
  // [groups], summing to one: how much each weighs now.
  const at::Tensor& group_weights() const { return group_weights_; }

 private:
  at::Tensor read(const nn::Input& view, const nn::Context& context) const;  // [B, D], what the head sees
  at::Tensor answer(const at::Tensor& pooled, const nn::Rows& rows) const;   // through the head
  methods::Loss loss_of(const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step);
  at::Tensor losses(const at::Tensor& out, const at::Tensor& truth, const at::Tensor& weights) const;  // [B]
  at::Tensor robust(const at::Tensor& losses, const at::Tensor& group, const nn::Comm& comm, double weight);
  at::Tensor drop_paths(const data::Batch& batch, const data::ViewBatch& view, const at::Device& device) const;  // [2·depth, B], or undefined

  SupervisedOptions options_;
  std::shared_ptr<const data::Recipe> recipe_;
  std::shared_ptr<nn::Encoder> encoder_;
  std::shared_ptr<nn::AttentivePool> pool_;
  std::shared_ptr<nn::Linear> head_, domain_hidden_, domain_head_;
  at::Tensor group_weights_;
};

}  // namespace sslmed::tasks
