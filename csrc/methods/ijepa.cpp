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

}  // namespace

IJepa::IJepa(std::shared_ptr<nn::VisionTransformer> encoder, const IJepaOptions& options, std::uint64_t seed)
    : options_(options), encoder_(std::move(encoder)) {
  const auto& config = encoder_->config();
  const std::int64_t dim = options.predictor_dim, heads = options.predictor_heads > 0 ? options.predictor_heads : config.heads;
  TORCH_CHECK_VALUE(dim > 0 && options.predictor_depth > 0 && dim % heads == 0, "predictor width ", dim, " must be a multiple of ", heads, " heads");
  TORCH_CHECK_VALUE(options.ema_start >= 0 && options.ema_end <= 1 && options.ema_start <= options.ema_end, "the momentum must rise within [0, 1], got ",
                    options.ema_start, " to ", options.ema_end);
  const auto predictor = std::make_shared<torch::nn::Module>();
  embed_ = predictor->register_module("embed", std::make_shared<nn::Linear>(config.dim, dim));
  mask_token_ = predictor->register_parameter("mask_token", at::zeros({1, 1, dim}));
  positions_ = std::make_shared<nn::PositionEmbedding>(config, dim);
  if (config.positions == nn::Positions::kElectrode) {
    predictor->register_module("pos_embed", positions_);
  } else {
    positions_->table = predictor->register_buffer("pos_embed", positions_->table);  // fixed, as in the paper
  }
  const auto blocks = predictor->register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < options.predictor_depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<nn::Block>(dim, heads, config.mlp_ratio)));
  norm_ = predictor->register_module("norm", std::make_shared<nn::LayerNorm>(dim));
  proj_ = predictor->register_module("proj", std::make_shared<nn::Linear>(dim, config.dim));
  nn::initialise(*predictor, seed + 1);

  target_ = std::make_shared<nn::VisionTransformer>(config, seed);
  register_module("encoder", encoder_);
  register_module("predictor", predictor);
  register_module("target", target_);
  const c10::NoGradGuard guard;
  for (auto& item : target_->named_parameters()) {
    online_.push_back(encoder_->named_parameters()[item.key()]);
    averaged_.push_back(item.value().set_requires_grad(false));
    item.value().copy_(online_.back());
  }
  for (auto& item : target_->named_buffers()) item.value().copy_(encoder_->named_buffers()[item.key()]);
}

Loss IJepa::loss(const data::Batch& batch, const Step&) {
  TORCH_CHECK_VALUE(batch.patches.size() == 1 && batch.patches[0].masked.defined() && batch.patches[0].blocks > 1,
                    "I-JEPA takes batches of one embedding with a multi-block mask");
  const auto& view = batch.patches[0];
  auto context = view.keep;
  auto context_lengths = view.keep_lengths;
  if (options_.cut_contexts) cut_contexts(view.lengths, context, context_lengths);
  nn::Lengths block_lengths;
  for (const auto length : view.masked_lengths) block_lengths.insert(block_lengths.end(), static_cast<std::size_t>(view.blocks), length / view.blocks);
  const auto prediction = forward(tokens_of(view), context, view.masked, context_lengths, block_lengths);
  Loss out;
  out.total = prediction.loss;
  out.weight = static_cast<double>(view.masked.size(0));
  out.features = prediction.pooled;
  return out;
}

void IJepa::after_step(const Step& step) {
  const c10::NoGradGuard guard;
  const double progress = step.total > 0 ? static_cast<double>(step.number) / static_cast<double>(step.total) : 0;
  at::_foreach_lerp_(averaged_, online_, 1 - (options_.ema_start + progress * (options_.ema_end - options_.ema_start)));
}

IJepa::Prediction IJepa::forward(const nn::PatchTokens& tokens, const at::Tensor& context, const at::Tensor& targets, const nn::Lengths& context_lengths,
                                 const nn::Lengths& block_lengths) const {
  at::Tensor target, pooled;
  {
    const c10::NoGradGuard guard;
    const auto whole = target_->forward_tokens(tokens);
    target = at::layer_norm(whole.patches().index_select(0, targets), {encoder_->config().dim});
    pooled = whole.pooled;
  }
  const auto seen = tokens.select(context, context_lengths);
  const auto latent = encoder_->forward_tokens(seen).patches();
  const auto head = embed_->forward(latent) + positions_->forward(seen);
  const auto tail = mask_token_[0] + positions_->forward(tokens.select(targets, block_lengths));
  nn::Lengths lengths;
  auto x = nn::join(head, context_lengths, tail.to(head.scalar_type()), block_lengths, lengths);
  const auto layout = nn::layout_of(lengths);
  for (const auto& block : blocks_) x = block->forward(x, layout);
  const auto pred = proj_->forward(norm_->forward(nn::split_tail(x, context_lengths, block_lengths)));
  // In float32 at least: smooth L1 of half precision would lose what is left of small differences.
  const auto type = pred.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {at::smooth_l1_loss(pred.to(type), target.to(type)), pred, target, pooled};
}

IJepa::Prediction IJepa::forward_dense(const at::Tensor& dense, const at::Tensor& context, const at::Tensor& targets) const {
  const auto patches = nn::patchify(dense, encoder_->config().patch_size);
  const std::int64_t batch = patches.size(0), n = patches.size(1);
  TORCH_CHECK_VALUE(context.dim() == 2 && targets.dim() == 3 && context.size(0) == batch && targets.size(0) == batch,
                    "expected context [B, K] and targets [B, blocks, M] of ", batch, " images, got ", context.sizes(), " and ", targets.sizes());
  nn::PatchTokens tokens;
  tokens.values = patches.flatten(0, 1);
  tokens.position = at::arange(n, context.options()).repeat({batch});
  tokens.lengths.assign(static_cast<std::size_t>(batch), n);
  const auto offset = (at::arange(batch, context.options()) * n).unsqueeze(1);
  return forward(tokens, (context + offset).flatten(), (targets.flatten(1) + offset).flatten(), nn::Lengths(static_cast<std::size_t>(batch), context.size(1)),
                 nn::Lengths(static_cast<std::size_t>(batch * targets.size(1)), targets.size(2)));
}

}  // namespace sslmed::methods
