#include "nn/vit.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <numbers>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kFrequencies = 8;
constexpr double kHeadRadius = 95.0;                    // mm
constexpr double kLongestPeriod = 64, kShortest = 0.5;  // s

// [n, 4] to [n, 4 · 2 · kFrequencies]: sine and cosine of x, y, z over the head and of t, octave by octave.
at::Tensor fourier(const at::Tensor& coords) {
  const auto options = coords.options();
  const auto octave = at::arange(kFrequencies, options);
  const auto space = at::pow(2.0, octave) * (std::numbers::pi / 4 / kHeadRadius);
  const double ratio = std::log(kLongestPeriod / kShortest) / static_cast<double>(kFrequencies - 1);
  const auto time = at::exp(octave * ratio) * (2 * std::numbers::pi / kLongestPeriod);
  const auto known = at::nan_to_num(coords, 0.0);
  const auto angles = known.unsqueeze(-1) * at::stack({space, space, space, time});  // [n, 4, F]
  auto features = at::cat({angles.sin(), angles.cos()}, -1);                         // [n, 4, 2F]
  // An electrode without a position gets no spatial features, rather than those of the head's centre.
  const auto has_position = coords.isfinite().to(options.dtype()).unsqueeze(-1);
  return (features * has_position).flatten(1);
}

}  // namespace

std::vector<std::int64_t> VitConfig::grid() const {
  std::vector<std::int64_t> cells;
  for (std::size_t i = 0; i < patch_size.size(); ++i) cells.push_back(img_size[i] / patch_size[i]);
  return cells;
}

std::int64_t VitConfig::patch_values() const {
  std::int64_t n = in_chans;
  for (const auto p : patch_size) n *= p;
  return n;
}

VitConfig named_vit(const std::string& name) {
  VitConfig config;
  config.name = name;
  if (name == "vit_tiny") {
    config.dim = 192, config.depth = 12, config.heads = 3;
  } else if (name == "vit_small") {
    config.dim = 384, config.depth = 12, config.heads = 6;
  } else if (name == "vit_base") {
    config.dim = 768, config.depth = 12, config.heads = 12;
  } else if (name == "vit_large") {
    config.dim = 1024, config.depth = 24, config.heads = 16;
  } else {
    TORCH_CHECK_VALUE(false, "unknown encoder '", name, "'; there are vit_tiny, vit_small, vit_base and vit_large");
  }
  return config;
}

at::Tensor patchify(const at::Tensor& dense, const std::vector<std::int64_t>& patch_size) {
  const auto rank = static_cast<std::int64_t>(patch_size.size());
  TORCH_CHECK_VALUE(dense.dim() == rank + 2, "expected a dense batch of ", rank + 2, " dimensions [B, C, spatial…], got ", dense.sizes());
  std::vector<std::int64_t> shape{dense.size(0), dense.size(1)}, order{0};
  std::int64_t cells = 1;
  for (std::int64_t a = 0; a < rank; ++a) {
    const std::int64_t p = patch_size[static_cast<std::size_t>(a)], extent = dense.size(a + 2);
    TORCH_CHECK_VALUE(extent % p == 0 && extent > 0, "axis ", a, " has ", extent, " samples, which patches of ", p, " do not divide");
    shape.insert(shape.end(), {extent / p, p});
    order.push_back(2 + 2 * a);
    cells *= extent / p;
  }
  for (std::int64_t a = 0; a < rank; ++a) order.push_back(3 + 2 * a);
  order.push_back(1);
  return dense.reshape(shape).permute(order).reshape({dense.size(0), cells, -1});
}

PatchTokens PatchTokens::select(const at::Tensor& rows, Lengths chosen) const {
  PatchTokens out;
  out.values = values.index_select(0, rows);
  if (coords.defined()) out.coords = coords.index_select(0, rows);
  if (channel.defined()) out.channel = channel.index_select(0, rows);
  if (position.defined()) out.position = position.index_select(0, rows);
  if (grid.defined()) out.grid = grid.index_select(0, rows);
  out.lengths = std::move(chosen);
  return out;
}

PositionEmbedding::PositionEmbedding(const VitConfig& config, std::int64_t dim)
    : kind_(config.positions),
      first_(config.class_token ? 1 : 0),
      columns_(kind_ != Positions::kElectrode && config.patch_size.size() == 2 ? config.grid()[1] : 0) {
  if (kind_ == Positions::kElectrode) {
    proj_ = register_module("proj", std::make_shared<Linear>(4 * 2 * kFrequencies, dim));
    if (config.extra_channels > 0) channel_table_ = register_parameter("channel_table", at::zeros({config.extra_channels, dim}));
  } else {
    table = sincos_table(config.grid(), dim, config.class_token).unsqueeze(0);
  }
}

at::Tensor PositionEmbedding::class_row() const { return kind_ == Positions::kElectrode || first_ == 0 ? at::Tensor() : table.select(1, 0); }

at::Tensor PositionEmbedding::forward(const PatchTokens& tokens) const {
  if (kind_ != Positions::kElectrode) {
    const auto cells = table[0].narrow(0, first_, table.size(1) - first_);
    if (tokens.position.defined()) return cells.index_select(0, tokens.position);
    if (tokens.grid.defined() && columns_ > 0) {
      const auto row = tokens.grid.select(1, 0), column = tokens.grid.select(1, 1);
      return cells.index_select(0, row.to(at::kLong) * columns_ + column);
    }
    std::vector<at::Tensor> parts;
    for (const auto length : tokens.lengths) {
      TORCH_CHECK_VALUE(length == cells.size(0), "a sequence of ", length, " patches where the position table has ", cells.size(0));
      parts.push_back(cells);
    }
    return at::cat(parts);
  }
  auto out = proj_->forward(fourier(tokens.coords).to(proj_->weight.scalar_type()));
  if (channel_table_.defined() && tokens.channel.defined()) {
    const auto known = tokens.channel.ge(0).unsqueeze(-1).to(out.scalar_type());
    out = out + channel_table_.index_select(0, tokens.channel.clamp_min(0)) * known;
  }
  return out;
}

VisionTransformer::VisionTransformer(VitConfig config, std::uint64_t seed) : config_(std::move(config)) {
  const bool electrode = config_.positions == Positions::kElectrode;
  TORCH_CHECK_VALUE(!config_.patch_size.empty() && (electrode || config_.patch_size.size() == config_.img_size.size()),
                    "patch_size and img_size must have the same rank");
  for (std::size_t a = 0; a < config_.patch_size.size(); ++a) {
    TORCH_CHECK_VALUE(config_.patch_size[a] > 0, "patch_size must be positive, got ", config_.patch_size[a]);
    TORCH_CHECK_VALUE(electrode || (config_.img_size[a] > 0 && config_.img_size[a] % config_.patch_size[a] == 0), "img_size ", config_.img_size[a],
                      " is not a multiple of patch_size ", config_.patch_size[a]);
  }
  TORCH_CHECK_VALUE(config_.in_chans > 0 && config_.num_classes >= 0, "in_chans must be positive and num_classes not negative");
  TORCH_CHECK_VALUE(config_.dim > 0 && config_.heads > 0 && config_.depth > 0 && config_.dim % config_.heads == 0, "width ", config_.dim,
                    " must be a multiple of ", config_.heads, " heads");
  TORCH_CHECK_VALUE(config_.lora.rank >= 0 && config_.lora.alpha >= 0, "the rank and alpha of adapters must not be negative");
  const auto channels = static_cast<std::size_t>(config_.in_chans);
  auto &mean = config_.pixel_mean, &std = config_.pixel_std;
  if (mean.empty()) mean.assign(channels, 0);
  if (std.empty()) std.assign(channels, 1);
  TORCH_CHECK_VALUE(mean.size() == channels && std.size() == channels, "pixel_mean and pixel_std need a number for each of ", channels, " channels");
  for (const auto value : std) TORCH_CHECK_VALUE(value > 0, "pixel_std must be positive, got ", value);
  const auto pixels = config_.patch_values() / config_.in_chans;
  pixel_scale_ = at::tensor(std, at::kDouble).mul(255).reciprocal().repeat({pixels});
  pixel_shift_ = (-at::tensor(mean, at::kDouble) / at::tensor(std, at::kDouble)).repeat({pixels});
  if (config_.class_token) cls_token_ = register_parameter("cls_token", at::zeros({1, 1, config_.dim}));
  positions_ = std::make_shared<PositionEmbedding>(config_, config_.dim);
  if (config_.positions == Positions::kElectrode) {
    register_module("pos_embed", positions_);
  } else if (config_.positions == Positions::kLearned) {
    pos_table_ = positions_->table = register_parameter("pos_embed", positions_->table);
  } else {
    pos_table_ = positions_->table = register_buffer("pos_embed", positions_->table);
  }
  const auto patch_embed = register_module("patch_embed", std::make_shared<torch::nn::Module>());
  const auto proj = patch_embed->register_module("proj", std::make_shared<torch::nn::Module>());
  std::vector<std::int64_t> shape{config_.dim, config_.in_chans};
  shape.insert(shape.end(), config_.patch_size.begin(), config_.patch_size.end());
  proj_weight_ = proj->register_parameter("weight", at::zeros(shape));
  proj_bias_ = proj->register_parameter("bias", at::zeros({config_.dim}));
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < config_.depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<Block>(config_.dim, config_.heads, config_.mlp_ratio, config_.lora)));
  norm_ = register_module("norm", std::make_shared<LayerNorm>(config_.dim));
  if (config_.num_classes > 0) head_ = register_module("head", std::make_shared<Linear>(config_.dim, config_.num_classes));
  initialise(*this, seed);
}

at::Tensor VisionTransformer::embed(const PatchTokens& tokens) const {
  TORCH_CHECK_VALUE(tokens.values.dim() == 2 && tokens.values.size(1) == config_.patch_values(), "patches of ", config_.patch_values(),
                    " values expected, got ", tokens.values.sizes());
  // Stored as timm has it, [D, C, p…]; patches are (p…, c).
  const auto weight = proj_weight_.movedim(1, -1).reshape({config_.dim, -1});
  return linear(standardised(tokens.values), weight, proj_bias_) + positions_->forward(tokens);
}

at::Tensor VisionTransformer::standardised(const at::Tensor& values) const {
  const auto type = proj_weight_.scalar_type();
  if (values.scalar_type() != at::kByte) return values.to(type);
  const auto options = values.options().dtype(type);
  return values.to(type).mul_(pixel_scale_.to(options)).add_(pixel_shift_.to(options));
}

Encoded VisionTransformer::forward_tokens(const PatchTokens& tokens, const at::Tensor& keep) const {
  Lengths lengths = tokens.lengths;
  TORCH_CHECK_VALUE(!lengths.empty(), "an empty batch");
  for (const auto length : lengths) TORCH_CHECK_VALUE(length > 0, "a sequence without tokens");
  auto x = embed(tokens);
  if (config_.class_token) {
    auto token = cls_token_[0];
    if (const auto row = positions_->class_row(); row.defined()) token = token + row;
    x = prepend(x, token, lengths);
  }
  const Layout layout = layout_of(lengths);
  at::Tensor factors;  // [depth, 2, ΣN, 1]
  if (keep.defined()) {
    TORCH_CHECK_VALUE(keep.dim() == 2 && keep.size(0) == 2 * config_.depth && keep.size(1) == static_cast<std::int64_t>(lengths.size()), "keep must be [",
                      2 * config_.depth, ", ", lengths.size(), "], got ", keep.sizes());
    factors = keep.repeat_interleave(at::tensor(lengths, at::kLong).to(keep.device()), 1).view({config_.depth, 2, -1, 1});
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i]->forward(x, layout, keep.defined() ? factors[static_cast<std::int64_t>(i)] : at::Tensor());
  x = norm_->forward(x);
  const auto pooled = mean_rows(x, lengths, config_.class_token ? 1 : 0);
  return {x, pooled, std::move(lengths), config_.class_token};
}

at::Tensor VisionTransformer::forward_features(const at::Tensor& dense) const {
  TORCH_CHECK_VALUE(config_.positions != Positions::kElectrode, "this encoder takes tokens with electrode positions, not a dense batch");
  TORCH_CHECK_VALUE(dense.dim() >= 2 && dense.size(1) == config_.in_chans, "expected ", config_.in_chans, " channels, got a batch of ", dense.sizes());
  const auto patches = patchify(dense, config_.patch_size);
  PatchTokens tokens;
  tokens.values = patches.flatten(0, 1);
  tokens.lengths.assign(static_cast<std::size_t>(dense.size(0)), patches.size(1));
  return forward_tokens(tokens).tokens.view({dense.size(0), -1, config_.dim});
}

at::Tensor VisionTransformer::forward(const at::Tensor& dense) const {
  const auto features = forward_features(dense);
  const auto pooled = config_.class_token ? features.select(1, 0) : features.mean(1);
  return head_ ? head_->forward(pooled) : pooled;
}

}  // namespace sslmed::nn
