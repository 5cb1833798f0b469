#include "methods/supervised.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <map>
#include <utility>

#include "core/random.h"

namespace sslmed::methods {
namespace {

// timm's numbering: 0 what comes before the blocks, 1 … depth the blocks, the last one with the norm after it, depth + 1 the head.
std::int64_t layer_of(const std::string& name, std::int64_t depth) {
  const std::string blocks = "encoder.blocks.";
  if (name.rfind(blocks, 0) == 0) return std::stoll(name.substr(blocks.size())) + 1;
  if (name.rfind("encoder.norm.", 0) == 0) return depth;
  return name.rfind("encoder.", 0) == 0 ? 0 : depth + 1;
}

}  // namespace

Supervised::Supervised(std::shared_ptr<nn::VisionTransformer> encoder, const SupervisedOptions& options) : options_(options), encoder_(std::move(encoder)) {
  const auto& config = encoder_->config();
  TORCH_CHECK_VALUE(options.classes == 0 || options.classes >= 2, "a classification needs two classes at least, got ", options.classes);
  TORCH_CHECK_VALUE(options.class_weights.empty() || static_cast<std::int64_t>(options.class_weights.size()) == options.classes, options.classes,
                    " classes with ", options.class_weights.size(), " weights");
  TORCH_CHECK_VALUE(options.label_smoothing >= 0 && options.label_smoothing < 1, "label_smoothing must be within [0, 1), got ", options.label_smoothing);
  TORCH_CHECK_VALUE(options.layer_decay > 0 && options.layer_decay <= 1, "layer_decay must be within (0, 1], got ", options.layer_decay);
  TORCH_CHECK_VALUE(options.drop_path >= 0 && options.drop_path < 1, "drop_path must be within [0, 1), got ", options.drop_path);
  TORCH_CHECK_VALUE(options.scale > 0 && std::isfinite(options.scale) && std::isfinite(options.mean), "a regressed target needs a finite mean and a scale > 0");
  TORCH_CHECK_VALUE(options.readout != Readout::kClassToken || config.class_token, "this encoder has no class token to read; use the mean");
  TORCH_CHECK_VALUE(options.tuned != Tuned::kAdapters || config.lora.rank > 0, "this encoder has no adapters: make it with a lora_rank");
  if (options.readout == Readout::kAttentive) {
    pool_ = register_module(
        "pool", std::make_shared<nn::AttentivePool>(config.dim, options.readout_heads > 0 ? options.readout_heads : config.heads, config.mlp_ratio));
    nn::initialise(*pool_, options.seed + 1);
  }
  head_ = register_module("head", std::make_shared<nn::Linear>(config.dim, outputs()));
  nn::initialise(*head_, options.seed + 2);
  {
    const c10::NoGradGuard guard;
    head_->weight.mul_(0.01);  // nearly the same answer for all at first: the head moves before the encoder does
  }
  register_module("encoder", encoder_);
  for (auto& item : encoder_->named_parameters()) {
    const bool adapter = item.key().find("lora_") != std::string::npos;
    if (options.tuned == Tuned::kNothing || (options.tuned == Tuned::kAdapters && !adapter)) item.value().set_requires_grad(false);
  }
}

std::shared_ptr<const data::Recipe> Supervised::recipe() const { return std::make_shared<const data::PatchRecipe>(options_.recipe); }

std::vector<ParameterGroup> Supervised::parameter_groups() const {
  const auto depth = encoder_->config().depth;
  std::map<std::pair<std::int64_t, bool>, ParameterGroup> groups;
  for (const auto& plain : Objective::parameter_groups()) {
    for (std::size_t i = 0; i < plain.names.size(); ++i) {
      const auto& name = plain.names[i];
      const auto layer = layer_of(name, depth);
      const bool decay = plain.decay && name != "encoder.pos_embed";  // a table of positions is no matrix (timm)
      auto& group = groups[{layer, decay}];
      group.lr_scale = std::pow(options_.layer_decay, static_cast<double>(depth + 1 - layer));
      group.decay = decay;
      group.names.push_back(name);
      group.parameters.push_back(plain.parameters[i]);
    }
  }
  std::vector<ParameterGroup> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

// Named by sample and batch, so that neither ranks nor threads nor a resumed run draw otherwise.
at::Tensor Supervised::drop_paths(const data::Batch& batch, const data::PatchBatch& view) const {
  if (options_.drop_path == 0 || !is_training() || options_.tuned == Tuned::kNothing) return {};
  const auto depth = encoder_->config().depth;
  const auto n = static_cast<std::int64_t>(view.slots.size());
  const auto keep = at::empty({2 * depth, n}, at::kFloat);
  auto* const factors = keep.data_ptr<float>();
  for (std::int64_t b = 0; b < n; ++b) {
    const auto id = batch.sample_ids[static_cast<std::size_t>(view.slots[static_cast<std::size_t>(b)])];
    Philox random({options_.seed, batch.number, static_cast<std::uint64_t>(id)}, Stream::kDropPath);
    for (std::int64_t branch = 0; branch < 2 * depth; ++branch) {
      const double rate = depth > 1 ? options_.drop_path * static_cast<double>(branch / 2) / static_cast<double>(depth - 1) : options_.drop_path;
      factors[branch * n + b] = random.uniform() < rate ? 0 : static_cast<float>(1 / (1 - rate));
    }
  }
  return keep.to(view.values.device());
}

at::Tensor Supervised::forward(const nn::PatchTokens& tokens, const at::Tensor& keep) const {
  const auto encoded = encoder_->forward_tokens(tokens, keep);
  at::Tensor pooled = encoded.pooled;
  if (options_.readout == Readout::kClassToken) pooled = nn::first_rows(encoded.tokens, encoded.lengths);
  if (pool_) pooled = pool_->forward(encoded.patches(), nn::layout_of(tokens.lengths));
  const auto out = head_->forward(pooled);
  if (options_.classes > 0) return out;
  return out * options_.scale + options_.mean;
}

Loss Supervised::loss(const data::Batch& batch, const Step&) {
  TORCH_CHECK_VALUE(batch.patches.size() == 1, "a task takes batches of one embedding");
  const auto found = batch.targets.find(options_.target);
  TORCH_CHECK_VALUE(found != batch.targets.end(), "the samples have no target '", options_.target, "'");
  const auto& view = batch.patches[0];
  const auto truth = found->second.index_select(0, at::tensor(view.slots, at::kLong));
  TORCH_CHECK_VALUE(truth.isfinite().all().item<bool>(), "a sample without a value of '", options_.target, "'; leave it out");
  auto out = forward(tokens_of(view), drop_paths(batch, view));
  out = out.to(out.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);  // in full precision under autocast
  Loss loss;
  loss.weight = static_cast<double>(truth.size(0));
  if (options_.classes == 0) {
    const auto target = truth.to(out.options()).unsqueeze(1);
    loss.per_sample = ((out - target) / options_.scale).square().squeeze(1);
    loss.total = loss.per_sample.mean();
    return loss;
  }
  const auto number = truth.to(at::kLong);
  TORCH_CHECK_VALUE(number.ge(0).logical_and(number.lt(options_.classes)).all().item<bool>(), "'", options_.target, "' must number ", options_.classes,
                    " classes from 0, got ", number.min().item<std::int64_t>(), " to ", number.max().item<std::int64_t>());
  const auto label = number.to(out.device());
  at::Tensor weights;
  if (!options_.class_weights.empty()) {
    weights = at::tensor(options_.class_weights, out.options());
    loss.weight = weights.index_select(0, label).sum().item<double>();  // that the mean is taken over
  }
  loss.total = at::cross_entropy_loss(out, label, weights, at::Reduction::Mean, -100, options_.label_smoothing);
  return loss;
}

}  // namespace sslmed::methods
