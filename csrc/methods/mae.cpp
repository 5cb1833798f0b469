#include "methods/mae.h"

#include <ATen/Functions.h>

#include <utility>

#include "ops/masked_mse.h"

namespace sslmed::methods {

Mae::Mae(std::shared_ptr<nn::VisionTransformer> encoder, const MaeOptions& options, std::uint64_t seed) : options_(options), encoder_(std::move(encoder)) {
  const auto& config = encoder_->config();
  const std::int64_t dim = options.decoder_dim;
  TORCH_CHECK_VALUE(options.decoder_depth > 0, "decoder_depth must be positive, got ", options.decoder_depth);
  TORCH_CHECK_VALUE(dim > 0 && options.decoder_heads > 0 && dim % options.decoder_heads == 0, "decoder width ", dim, " must be a multiple of ",
                    options.decoder_heads, " heads");
  const auto decoder = std::make_shared<torch::nn::Module>();
  embed_ = decoder->register_module("embed", std::make_shared<nn::Linear>(config.dim, dim));
  mask_token_ = decoder->register_parameter("mask_token", at::zeros({1, 1, dim}));
  positions_ = std::make_shared<nn::PositionEmbedding>(config, dim);
  if (config.positions == nn::Positions::kElectrode) {
    decoder->register_module("pos_embed", positions_);
  } else {
    positions_->table = decoder->register_buffer("pos_embed", positions_->table);  // fixed, as in the paper's code
  }
  const auto blocks = decoder->register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < options.decoder_depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<nn::Block>(dim, options.decoder_heads, config.mlp_ratio)));
  norm_ = decoder->register_module("norm", std::make_shared<nn::LayerNorm>(dim));
  TORCH_CHECK_VALUE(options.target == Target::kSignal || (config.patch_size.size() == 1 && config.in_chans == 1),
                    "a spectral target needs patches of one channel in time");
  const std::int64_t bins = options.target_bins;
  TORCH_CHECK_VALUE(bins >= 1 && bins <= config.patch_values() / 2, "target_bins must be within 1 and half a patch (", config.patch_values() / 2, "), got ",
                    bins);
  const std::int64_t spectral = bins > 1 ? config.patch_values() / 2 / bins : config.patch_values() / 2 + 1;
  const std::int64_t outputs = options.target == Target::kSpectrum ? spectral : config.patch_values();
  pred_ = decoder->register_module("pred", std::make_shared<nn::Linear>(dim, outputs));
  nn::initialise(*decoder, seed + 1);
  register_module("encoder", encoder_);  // after initialise: the encoder may come with weights
  register_module("decoder", decoder);
}

Loss Mae::loss(const data::Batch& batch, const Step&) {
  TORCH_CHECK_VALUE(batch.patches.size() == 1 && batch.patches[0].masked.defined(), "MAE takes batches of one embedding with a mask");
  const auto& view = batch.patches[0];
  Loss out;
  const auto prediction = forward(tokens_of(view), view.keep, view.masked, view.keep_lengths);
  out.total = prediction.loss;
  out.features = prediction.pooled.detach();
  out.weight = static_cast<double>(view.masked.size(0));
  return out;
}

Mae::Prediction Mae::forward(const nn::PatchTokens& tokens, const at::Tensor& keep, const at::Tensor& masked,
                             const std::vector<std::int64_t>& keep_lengths) const {
  const auto encoded = encoder_->forward_tokens(tokens.select(keep, keep_lengths));
  const auto latent = embed_->forward(encoded.tokens);
  const auto visible = encoded.class_token ? nn::drop_first(latent, encoded.lengths) : latent;
  // Every row a mask token, then the visible ones at their places.
  auto x = mask_token_[0].to(visible.scalar_type()).expand({tokens.values.size(0), -1}).index_copy(0, keep, visible);
  x = x + positions_->forward(tokens);
  auto lengths = tokens.lengths;
  if (encoded.class_token) {                                 // it goes through the decoder as well
    auto classes = nn::first_rows(latent, encoded.lengths);  // [B, D]
    if (const auto row = positions_->class_row(); row.defined()) classes = classes + row;
    x = nn::join(classes, nn::Lengths(tokens.lengths.size(), 1), x, tokens.lengths, lengths);
  }
  const auto layout = nn::layout_of(lengths);
  for (const auto& block : blocks_) x = block->forward(x, layout);
  // Only masked patches are scored, so only they are projected back.
  const auto hidden = (encoded.class_token ? nn::drop_first(x, lengths) : x).index_select(0, masked);
  const auto pred = pred_->forward(norm_->forward(hidden));
  const auto target = target_of(encoder_->standardised(tokens.values.index_select(0, masked))).to(pred.scalar_type());
  const auto all = at::ones({1, masked.size(0)}, pred.options().dtype(at::kFloat));
  return {ops::masked_mse(pred.unsqueeze(0), target.unsqueeze(0), all, options_.norm_target), pred, encoded.tokens, encoded.pooled};
}

at::Tensor Mae::target_of(const at::Tensor& patches) const {
  if (options_.target == Target::kSignal) return patches;
  // Power per sample, so that the floor means the same for every patch length; it keeps flat patches finite.
  constexpr double kFloor = 1e-4;
  auto power = at::fft_rfft(patches).abs().square() / static_cast<double>(patches.size(1));
  // One coefficient of noise has a logarithm of variance pi^2 / 6; the mean of several is a target with less of it.
  if (const auto bins = options_.target_bins; bins > 1) {
    const auto bands = (power.size(1) - 1) / bins;
    power = power.narrow(1, 1, bands * bins).view({-1, bands, bins}).mean(2);
  }
  return (power + kFloor).log();
}

Mae::Prediction Mae::forward_dense(const at::Tensor& dense, const at::Tensor& keep, const at::Tensor& masked) const {
  const auto patches = nn::patchify(dense, encoder_->config().patch_size);
  const std::int64_t batch = patches.size(0), n = patches.size(1);
  TORCH_CHECK_VALUE(keep.dim() == 2 && masked.dim() == 2 && keep.size(0) == batch && masked.size(0) == batch && keep.size(1) + masked.size(1) == n,
                    "keep [B, K] and masked [B, M] must share the ", n, " patches, got ", keep.sizes(), " and ", masked.sizes());
  nn::PatchTokens tokens;
  tokens.values = patches.flatten(0, 1);
  tokens.position = at::arange(n, keep.options()).repeat({batch});
  tokens.lengths.assign(static_cast<std::size_t>(batch), n);
  const auto offset = (at::arange(batch, keep.options()) * n).unsqueeze(1);
  return forward(tokens, (keep + offset).flatten(), (masked + offset).flatten(), std::vector<std::int64_t>(static_cast<std::size_t>(batch), keep.size(1)));
}

}  // namespace sslmed::methods
