#include "methods/mae.h"

#include <ATen/Functions.h>

#include <utility>

#include "ops/masked_mse.h"

namespace sslmed::methods {
namespace {

// How many numbers the decoder predicts of a patch.
std::int64_t outputs(const MaeOptions& options, const nn::EmbeddingConfig& config) {
  const auto values = config.patch_values();
  if (options.reconstruct == Reconstruct::kSignal) return values;
  TORCH_CHECK_VALUE(config.patch_size.size() == 1 && config.in_chans == 1, "reconstruct='spectrum' needs patches of one channel in time, got ",
                    config.key().text());
  TORCH_CHECK_VALUE(options.reconstruct_bins <= values / 2, "reconstruct_bins=", options.reconstruct_bins, " must be within 1 and half a patch (", values / 2,
                    ")");
  return options.reconstruct_bins > 1 ? values / 2 / options.reconstruct_bins : values / 2 + 1;
}

}  // namespace

Mae::Mae(std::shared_ptr<nn::VisionTransformer> encoder, const MaeOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : options_(options), recipe_(std::move(recipe)), encoder_(std::move(encoder)) {
  const auto& config = encoder_->config();
  const std::int64_t dim = options.decoder_dim;
  TORCH_CHECK_VALUE(options.decoder_depth > 0, "decoder_depth must be positive, got ", options.decoder_depth);
  TORCH_CHECK_VALUE(options.decoder_heads > 0, "decoder_heads must be positive, got ", options.decoder_heads);
  TORCH_CHECK_VALUE(dim > 0 && dim % options.decoder_heads == 0, "decoder_dim=", dim, " must be a positive multiple of decoder_heads=", options.decoder_heads);
  TORCH_CHECK_VALUE(options.reconstruct_bins >= 1, "reconstruct_bins must be at least 1, got ", options.reconstruct_bins);
  const auto decoder = std::make_shared<torch::nn::Module>();
  embed_ = decoder->register_module("embed", std::make_shared<nn::Linear>(config.dim, dim));
  mask_token_ = decoder->register_parameter("mask_token", at::zeros({1, 1, dim}));
  End first;
  first.positions = nn::PositionEmbedding::create(*decoder, config.embedding, dim, config.class_token, /*learned=*/false);  // as in the paper's code
  const auto blocks = decoder->register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < options.decoder_depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<nn::Block>(dim, options.decoder_heads, config.mlp_ratio)));
  norm_ = decoder->register_module("norm", std::make_shared<nn::LayerNorm>(dim));
  first.pred = decoder->register_module("pred", std::make_shared<nn::Linear>(dim, outputs(options, config.embedding)));
  nn::initialise(*decoder, options.seed + 1);
  ends_[config.embedding.modality] = std::move(first);
  if (!config.more.empty()) {
    const auto others = decoder->register_module("embeddings", std::make_shared<torch::nn::Module>());
    for (std::size_t i = 0; i < config.more.size(); ++i) {
      const auto& more = config.more[i];
      const auto owner = others->register_module(more.modality, std::make_shared<torch::nn::Module>());
      ends_[more.modality] = end(*owner, more);
      nn::initialise(*owner, nn::seed_of(more.modality, options.seed + 2));
    }
  }
  register_module("encoder", encoder_);  // after initialise: the encoder may come with weights
  register_module("decoder", decoder);
}

Mae::End Mae::end(torch::nn::Module& owner, const nn::EmbeddingConfig& config) const {
  End out;
  out.positions = nn::PositionEmbedding::create(owner, config, options_.decoder_dim, encoder_->config().class_token, /*learned=*/false);
  out.pred = owner.register_module("pred", std::make_shared<nn::Linear>(options_.decoder_dim, outputs(options_, config)));
  return out;
}

Loss Mae::loss(const data::Batch& batch, const Step& step) {
  TORCH_CHECK_VALUE(!batch.views.empty(), "mae: the batch has no views");
  Loss out;
  std::vector<at::Tensor> losses, pooled;
  std::vector<double> weights;
  for (const auto& view : batch.views) {
    const auto& mask = view.masks("mae");
    const auto prediction =
        forward(tokens_of(view.patches("mae")), mask.visible, mask.masked, mask.visible_lengths, mask.masked_lengths, context_of(view, step));
    losses.push_back(prediction.loss);
    pooled.push_back(prediction.pooled.detach());
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

Mae::Prediction Mae::forward(const nn::PatchTokens& tokens, const at::Tensor& visible, const at::Tensor& masked, const nn::Lengths& visible_lengths,
                             const nn::Lengths& masked_lengths, const nn::Context& context) const {
  const auto encoded = encoder_->forward_view(tokens.select(visible, visible_lengths), context);
  const nn::Rows seen(encoded.lengths, context.samples), all(tokens.lengths, context.samples);
  const auto& embedding = encoder_->embedding(tokens.key);
  const auto& [positions, pred] = ends_.at(embedding.config().modality);
  const auto latent = embed_->forward(encoded.tokens, seen);
  const auto shown = encoded.prefix() > 0 ? nn::drop_first(latent, encoded.lengths, encoded.prefix()) : latent;
  // Every row a mask token, then the visible ones at their places.
  auto x = nn::repeat_token(mask_token_[0].to(shown.scalar_type()), all).index_copy(0, visible, shown);
  x = x + positions->forward(tokens);
  auto lengths = tokens.lengths;
  if (encoded.class_token) {                                 // it goes through the decoder as well; registers do not
    auto classes = nn::first_rows(latent, encoded.lengths);  // [B, D]
    if (const auto row = positions->class_row(); row.defined()) classes = classes + row;
    x = nn::join(classes, nn::Lengths(tokens.lengths.size(), 1), x, tokens.lengths, lengths);
  }
  const nn::Rows rows(lengths, context.samples);
  for (const auto& block : blocks_) x = block->forward(x, rows);
  // Only masked patches are scored, so only they are projected back.
  const auto hidden = (encoded.class_token ? nn::drop_first(x, lengths) : x).index_select(0, masked);
  const nn::Rows scored(masked_lengths, context.samples);
  const auto out = pred->forward(norm_->forward(hidden, scored), scored);
  const auto target = target_of(embedding.standardized(tokens.values.index_select(0, masked))).to(out.scalar_type());
  return {ops::masked_mse(out.unsqueeze(0), target.unsqueeze(0), std::nullopt, options_.norm_target), out, encoded.tokens, encoded.pooled};
}

at::Tensor Mae::target_of(const at::Tensor& patches) const {
  if (options_.reconstruct == Reconstruct::kSignal) return patches;
  // Power per sample, so that the floor means the same for every patch length; it keeps flat patches finite.
  constexpr double kFloor = 1e-4;
  auto power = at::fft_rfft(patches).abs().square() / static_cast<double>(patches.size(1));
  // One coefficient of noise has a logarithm of variance pi^2 / 6; the mean of several is a target with less of it.
  if (const auto bins = options_.reconstruct_bins; bins > 1) {
    const auto bands = (power.size(1) - 1) / bins;
    power = power.narrow(1, 1, bands * bins).view({-1, bands, bins}).mean(2);
  }
  return (power + kFloor).log();
}

Mae::Prediction Mae::forward_dense(const at::Tensor& dense, const at::Tensor& visible, const at::Tensor& masked) const {
  const auto tokens = encoder_->tokens_of(dense);
  const auto batch = static_cast<std::int64_t>(tokens.lengths.size()), n = tokens.lengths.front();
  TORCH_CHECK_VALUE(visible.dim() == 2 && masked.dim() == 2 && visible.size(0) == batch && masked.size(0) == batch && visible.size(1) + masked.size(1) == n,
                    "visible [B, K] and masked [B, M] must share the ", n, " patches, got ", visible.sizes(), " and ", masked.sizes());
  auto placed = tokens;
  placed.position = at::arange(n, visible.options()).repeat({batch});
  const auto offset = (at::arange(batch, visible.options()) * n).unsqueeze(1);
  const auto sequences = static_cast<std::size_t>(batch);
  return forward(placed, (visible + offset).flatten(), (masked + offset).flatten(), nn::Lengths(sequences, visible.size(1)),
                 nn::Lengths(sequences, masked.size(1)));
}

}  // namespace sslmed::methods
