#include "methods/ijepa.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

namespace sslmed::methods {
namespace {

// The published masks cut every context of a batch (here: of equal grids) to the smallest one, at its end.
void cut_contexts(const nn::Lengths& lengths, at::Tensor& context, nn::Lengths& context_lengths) {
  std::vector<at::Tensor> parts;
  std::int64_t row = 0;
  std::size_t sequence = 0;
  for (const auto& run : nn::layout_of(lengths)) {
    const auto first = context_lengths.begin() + static_cast<std::ptrdiff_t>(sequence), last = first + run.count;
    const auto keep = *std::min_element(first, last);
    for (auto it = first; it != last; ++it) {
      parts.push_back(context.narrow(0, row, keep));
      row += *it;
      *it = keep;
    }
    sequence += static_cast<std::size_t>(run.count);
  }
  context = at::cat(parts);
}

// Each sample's blocks, one after the other: whose they are.
std::vector<std::int64_t> repeated(const std::vector<std::int64_t>& samples, std::size_t sequences) {
  std::vector<std::int64_t> out;
  for (const auto sample : samples) out.insert(out.end(), sequences / samples.size(), sample);
  return out;
}

}  // namespace

IJepa::IJepa(std::shared_ptr<nn::VisionTransformer> encoder, const IJepaOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : options_(options), recipe_(std::move(recipe)), encoder_(std::move(encoder)) {
  const auto& config = encoder_->config();
  const std::int64_t dim = options.predictor_dim, heads = options.predictor_heads > 0 ? options.predictor_heads : config.heads;
  TORCH_CHECK_VALUE(options.predictor_depth > 0, "predictor_depth must be positive, got ", options.predictor_depth);
  TORCH_CHECK_VALUE(heads > 0, "predictor_heads=", heads, " must be positive");
  TORCH_CHECK_VALUE(dim > 0 && dim % heads == 0, "predictor_dim=", dim, " must be a positive multiple of predictor_heads=", heads);
  TORCH_CHECK_VALUE(options.ema_start >= 0 && options.ema_start <= 1, "ema_start must be within [0, 1], got ", options.ema_start);
  TORCH_CHECK_VALUE(options.ema_end >= options.ema_start && options.ema_end <= 1, "ema_end must be within [ema_start, 1], got ", options.ema_end, " after ",
                    options.ema_start);
  const auto predictor = std::make_shared<torch::nn::Module>();
  embed_ = predictor->register_module("embed", std::make_shared<nn::Linear>(config.dim, dim));
  mask_token_ = predictor->register_parameter("mask_token", at::zeros({1, 1, dim}));
  // Fixed tables, as in the paper.
  positions_[config.embedding.modality] = nn::PositionEmbedding::create(*predictor, config.embedding, dim, config.class_token, /*learned=*/false);
  const auto blocks = predictor->register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < options.predictor_depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<nn::Block>(dim, heads, config.mlp_ratio)));
  norm_ = predictor->register_module("norm", std::make_shared<nn::LayerNorm>(dim));
  proj_ = predictor->register_module("proj", std::make_shared<nn::Linear>(dim, config.dim));
  nn::initialise(*predictor, options.seed + 1);
  if (!config.more.empty()) {
    const auto others = predictor->register_module("embeddings", std::make_shared<torch::nn::Module>());
    for (std::size_t i = 0; i < config.more.size(); ++i) {
      const auto& more = config.more[i];
      const auto owner = others->register_module(more.modality, std::make_shared<torch::nn::Module>());
      positions_[more.modality] = nn::PositionEmbedding::create(*owner, more, dim, config.class_token, /*learned=*/false);
      nn::initialise(*owner, nn::seed_of(more.modality, options.seed + 2));
    }
  }
  target_ = std::make_shared<nn::VisionTransformer>(config, options.seed);
  register_module("encoder", encoder_);
  register_module("predictor", predictor);
  register_module("target", target_);
  teacher_ = std::make_unique<Teacher>(*encoder_, *target_);
}

Loss IJepa::loss(const data::Batch& batch, const Step& step) {
  TORCH_CHECK_VALUE(!batch.views.empty(), "ijepa: the batch has no views");
  Loss out;
  std::vector<at::Tensor> losses, pooled;
  std::vector<double> weights;
  for (const auto& view : batch.views) {
    const auto& mask = view.masks("ijepa");
    TORCH_CHECK_VALUE(mask.blocks > 1, "ijepa: needs a multi-block mask, got a mask of single tokens");
    const auto& patches = view.patches("ijepa");
    auto context = mask.visible;
    auto context_lengths = mask.visible_lengths;
    if (options_.cut_contexts) cut_contexts(patches.lengths, context, context_lengths);
    nn::Lengths block_lengths;
    for (const auto length : mask.masked_lengths) block_lengths.insert(block_lengths.end(), static_cast<std::size_t>(mask.blocks), length / mask.blocks);
    const auto prediction = forward(tokens_of(patches), context, mask.masked, context_lengths, block_lengths, context_of(view, step));
    losses.push_back(prediction.loss);
    pooled.push_back(prediction.pooled);
    weights.push_back(static_cast<double>(mask.masked.size(0)));
    out.weight += weights.back();
  }
  out.total = losses.front();
  out.features = pooled.front();
  if (losses.size() > 1) {
    out.total = losses.front() * (weights.front() / out.weight);
    for (std::size_t i = 1; i < losses.size(); ++i) out.total = out.total + losses[i] * (weights[i] / out.weight);
    out.features = at::cat(pooled);
  }
  return out;
}

void IJepa::after_step(const Step& step) { teacher_->update(rising_momentum(options_.ema_start, options_.ema_end, step.number, step.total)); }

IJepa::Prediction IJepa::forward(const nn::PatchTokens& tokens, const at::Tensor& context, const at::Tensor& targets, const nn::Lengths& context_lengths,
                                 const nn::Lengths& block_lengths, const nn::Context& known) const {
  at::Tensor target, pooled;
  {
    const c10::NoGradGuard guard;
    const auto whole = target_->forward_view(tokens, known);
    target = at::layer_norm(whole.patches().index_select(0, targets), {encoder_->config().dim});
    pooled = whole.pooled;
  }
  const auto& positions = positions_.at(encoder_->embedding(tokens.key).config().modality);
  const auto seen = tokens.select(context, context_lengths);
  const auto latent = encoder_->forward_view(seen, known).patches();
  const nn::Rows seen_rows(context_lengths, known.samples);
  const nn::Rows blocks(block_lengths, repeated(seen_rows.samples(), block_lengths.size()));
  const auto head = embed_->forward(latent, seen_rows) + positions->forward(seen);
  const auto tail = nn::repeat_token(mask_token_[0], blocks) + positions->forward(tokens.select(targets, block_lengths));
  nn::Lengths lengths;
  auto x = nn::join(head, context_lengths, tail.to(head.scalar_type()), block_lengths, lengths);
  const nn::Rows rows(lengths, blocks.samples());
  for (const auto& block : blocks_) x = block->forward(x, rows);
  const auto pred = proj_->forward(norm_->forward(nn::split_tail(x, context_lengths, block_lengths), blocks), blocks);
  // In float32 at least: smooth L1 of half precision would lose what is left of small differences.
  const auto type = pred.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {at::smooth_l1_loss(pred.to(type), target.to(type)), pred, target, pooled};
}

IJepa::Prediction IJepa::forward_dense(const at::Tensor& dense, const at::Tensor& context, const at::Tensor& targets) const {
  auto tokens = encoder_->tokens_of(dense);
  const auto batch = static_cast<std::int64_t>(tokens.lengths.size()), n = tokens.lengths.front();
  TORCH_CHECK_VALUE(context.dim() == 2 && targets.dim() == 3 && context.size(0) == batch && targets.size(0) == batch,
                    "expected context [B, K] and targets [B, blocks, M] of ", batch, " images, got ", context.sizes(), " and ", targets.sizes());
  tokens.position = at::arange(n, context.options()).repeat({batch});
  const auto offset = (at::arange(batch, context.options()) * n).unsqueeze(1);
  return forward(tokens, (context + offset).flatten(), (targets.flatten(1) + offset).flatten(), nn::Lengths(static_cast<std::size_t>(batch), context.size(1)),
                 nn::Lengths(static_cast<std::size_t>(batch * targets.size(1)), targets.size(2)));
}

}  // namespace sslmed::methods
