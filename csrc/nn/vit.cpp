#include "nn/vit.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sslmed::nn {
namespace {

void check(EmbeddingConfig& config) {
  const bool placed = config.positions == Positions::kCoordinates;
  TORCH_CHECK_VALUE(!config.patch_size.empty(), "patch_size must have an entry for each axis");
  TORCH_CHECK_VALUE(placed || config.patch_size.size() == config.img_size.size(), "patch_size has ", config.patch_size.size(), " axes and img_size ",
                    config.img_size.size(), "; they must have the same");
  for (std::size_t a = 0; a < config.patch_size.size(); ++a) {
    TORCH_CHECK_VALUE(config.patch_size[a] > 0, "patch_size must be positive, got ", config.patch_size[a]);
    TORCH_CHECK_VALUE(placed || (config.img_size[a] > 0 && config.img_size[a] % config.patch_size[a] == 0), "img_size=", config.img_size[a],
                      " is not a multiple of patch_size=", config.patch_size[a]);
  }
  TORCH_CHECK_VALUE(config.in_chans > 0, "in_chans must be positive, got ", config.in_chans);
  TORCH_CHECK_VALUE(config.extra_channels >= 0, "extra_channels must not be negative, got ", config.extra_channels);
  const auto channels = static_cast<std::size_t>(config.in_chans);
  auto &mean = config.pixel_mean, &std = config.pixel_std;
  if (mean.empty()) mean.assign(channels, 0);
  if (std.empty()) std.assign(channels, 1);
  TORCH_CHECK_VALUE(mean.size() == channels, "pixel_mean has ", mean.size(), " numbers, expected one for each of ", channels, " channels");
  TORCH_CHECK_VALUE(std.size() == channels, "pixel_std has ", std.size(), " numbers, expected one for each of ", channels, " channels");
  for (const auto value : std) TORCH_CHECK_VALUE(value > 0, "pixel_std must be positive, got ", value);
}

struct VitSize {
  const char* name;
  std::int64_t dim, depth, heads;
  bool clip;
};

constexpr VitSize kVitSizes[] = {
    {"vit_tiny", 192, 12, 3, false},
    {"vit_small", 384, 12, 6, false},
    {"vit_base", 768, 12, 12, false},
    {"vit_large", 1024, 24, 16, false},
    {"clip_vit_base_patch32", 768, 12, 12, true},
    {"clip_vit_base_patch16", 768, 12, 12, true},
    {"clip_vit_large_patch14", 1024, 24, 16, true},
};

// Rotations of all views, one after the other; rows of views without are not turned.
Rotation joined_rotations(std::vector<Rotation>& turns, const std::vector<at::Tensor>& parts, std::int64_t head_dim) {
  if (std::none_of(turns.begin(), turns.end(), [](const Rotation& turn) { return turn.defined(); })) return {};
  std::vector<at::Tensor> cos, sin;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (!turns[i].defined()) {
      const auto options = parts[i].options().requires_grad(false);
      turns[i] = {at::ones({parts[i].size(0), head_dim}, options), at::zeros({parts[i].size(0), head_dim}, options)};
    }
    cos.push_back(turns[i].cos);
    sin.push_back(turns[i].sin);
  }
  return turns.size() == 1 ? turns[0] : Rotation{at::cat(cos), at::cat(sin)};
}

}  // namespace

VitConfig named_vit(const std::string& name) {
  for (const auto& row : kVitSizes) {
    if (name != row.name) continue;
    VitConfig config;
    config.name = name;
    config.dim = row.dim, config.depth = row.depth, config.heads = row.heads;
    if (row.clip) {
      config.pre_norm = true, config.mlp = Mlp::kQuickGelu, config.norm_eps = 1e-5;
      config.embedding.bias = false;
    }
    return config;
  }
  std::string known;
  for (const auto& row : kVitSizes) known += (known.empty() ? "" : ", ") + std::string(row.name);
  TORCH_CHECK_VALUE(false, "unknown encoder '", name, "'; there are ", known);
}

std::vector<std::string> vit_names() {
  std::vector<std::string> out;
  for (const auto& row : kVitSizes) out.emplace_back(row.name);
  return out;
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

PatchEmbedding::PatchEmbedding(torch::nn::Module& owner, EmbeddingConfig config, std::int64_t dim, bool class_token) : config_(std::move(config)) {
  check(config_);
  const auto pixels = config_.patch_values() / config_.in_chans;
  const auto &mean = config_.pixel_mean, &std = config_.pixel_std;
  pixel_scale_ = at::tensor(std, at::kDouble).mul(255).reciprocal().repeat({pixels});
  pixel_shift_ = (-at::tensor(mean, at::kDouble) / at::tensor(std, at::kDouble)).repeat({pixels});
  if (config_.positions != Positions::kRope) positions_ = PositionEmbedding::create(owner, config_, dim, class_token, config_.positions == Positions::kLearned);
  const auto patch_embed = owner.register_module("patch_embed", std::make_shared<torch::nn::Module>());
  const auto proj = patch_embed->register_module("proj", std::make_shared<torch::nn::Module>());
  std::vector<std::int64_t> shape{dim, config_.in_chans};
  shape.insert(shape.end(), config_.patch_size.begin(), config_.patch_size.end());
  weight_ = proj->register_parameter("weight", at::zeros(shape));
  if (config_.bias) bias_ = proj->register_parameter("bias", at::zeros({dim}));
}

at::Tensor PatchEmbedding::forward(const PatchTokens& tokens) const {
  TORCH_CHECK_VALUE(tokens.values.dim() == 2 && tokens.values.size(1) == config_.patch_values(), "patches of ", config_.patch_values(),
                    " values expected, got ", tokens.values.sizes());
  // Stored as timm has it, [D, C, p…]; patches are (p…, c).
  const auto weight = weight_.movedim(1, -1).reshape({weight_.size(0), -1});
  const Rows rows(tokens.lengths);
  auto x = linear(standardized(tokens.values), weight, bias_, rows);
  if (tokens.hidden.defined()) x = replace_token(x, tokens.mask_token, tokens.hidden, rows);
  return positions_ ? x + positions_->forward(tokens) : x;
}

Rotation PatchEmbedding::rotation(const PatchTokens& tokens, std::int64_t head_dim) const {
  return positions_ ? Rotation{} : rotation_of(tokens, config_.grid(), head_dim);
}

at::Tensor PatchEmbedding::standardized(const at::Tensor& values) const {
  const auto type = weight_.scalar_type();
  if (values.scalar_type() != at::kByte) return values.to(type);
  const auto options = values.options().dtype(type);
  return values.to(type).mul_(pixel_scale_.to(options)).add_(pixel_shift_.to(options));
}

at::Tensor PatchEmbedding::standardized_dense(const at::Tensor& dense) const {
  const auto type = weight_.scalar_type();
  if (dense.scalar_type() != at::kByte) return dense.to(type);
  std::vector<std::int64_t> each(static_cast<std::size_t>(dense.dim()) - 1, 1);
  each[0] = config_.in_chans;
  const auto options = dense.options().dtype(type);
  const auto of_channels = [&](const at::Tensor& values) { return values.narrow(0, 0, config_.in_chans).view(each).to(options); };  // (p…, c) order
  return dense.to(type).mul_(of_channels(pixel_scale_)).add_(of_channels(pixel_shift_));
}

std::uint64_t seed_of(const std::string& modality, std::uint64_t seed) {
  std::uint64_t hash = 14695981039346656037ull ^ seed;  // FNV-1a
  for (const char c : modality) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

void VisionTransformer::check_config() const {
  TORCH_CHECK_VALUE(config_.num_classes >= 0, "num_classes must not be negative, got ", config_.num_classes);
  TORCH_CHECK_VALUE(config_.depth > 0, "depth must be positive, got ", config_.depth);
  TORCH_CHECK_VALUE(config_.heads > 0 && config_.dim > 0 && config_.dim % config_.heads == 0, "dim=", config_.dim,
                    " must be a positive multiple of heads=", config_.heads);
  TORCH_CHECK_VALUE(config_.registers >= 0, "registers must not be negative, got ", config_.registers);
  TORCH_CHECK_VALUE(config_.layer_scale >= 0 && std::isfinite(config_.layer_scale), "layer_scale must be 0 (none) or positive, got ", config_.layer_scale);
  TORCH_CHECK_VALUE(config_.mlp_dim >= 0, "mlp_dim must be 0 (by the width) or positive, got ", config_.mlp_dim);
  TORCH_CHECK_VALUE(config_.norm_eps > 0, "norm_eps must be positive, got ", config_.norm_eps);
  TORCH_CHECK_VALUE(config_.lora.rank >= 0, "lora_rank must not be negative, got ", config_.lora.rank);
  TORCH_CHECK_VALUE(config_.lora.alpha >= 0, "lora_alpha must not be negative, got ", config_.lora.alpha);
  TORCH_CHECK_VALUE(config_.more.empty() || !config_.embedding.modality.empty(), "modality must be named where an encoder has several embeddings");
  const auto check_rope = [&](const EmbeddingConfig& embedding) {
    const auto rank = static_cast<std::int64_t>(embedding.patch_size.size()), head_dim = config_.dim / config_.heads;
    TORCH_CHECK_VALUE(embedding.positions != Positions::kRope || head_dim % (2 * rank) == 0, "positions='rope' of ", rank,
                      " axes needs dim / heads to be a multiple of ", 2 * rank, ", got dim=", config_.dim, " and heads=", config_.heads);
  };
  check_rope(config_.embedding);
  for (const auto& embedding : config_.more) check_rope(embedding);
}

VisionTransformer::VisionTransformer(VitConfig config, std::uint64_t seed) : config_(std::move(config)) {
  check_config();
  if (config_.class_token) cls_token_ = register_parameter("cls_token", at::zeros({1, 1, config_.dim}));
  if (config_.registers > 0) reg_token_ = register_parameter("reg_token", at::zeros({1, config_.registers, config_.dim}));
  embeddings_.emplace_back(*this, config_.embedding, config_.dim, config_.class_token);
  if (config_.pre_norm) norm_pre_ = register_module("norm_pre", std::make_shared<LayerNorm>(config_.dim, config_.norm_eps));
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < config_.depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<Block>(config_.dim, config_.heads, config_.block())));
  norm_ = register_module("norm", std::make_shared<LayerNorm>(config_.dim, config_.norm_eps));
  if (config_.num_classes > 0) head_ = register_module("head", std::make_shared<Linear>(config_.dim, config_.num_classes));
  initialise(*this, seed);
  if (config_.more.empty()) return;
  const auto others = register_module("embeddings", std::make_shared<torch::nn::Module>());
  for (const auto& other : config_.more) {
    for (const auto& known : embeddings_)
      TORCH_CHECK_VALUE(known.config().modality != other.modality, "modality '", other.modality, "' has two embeddings; an encoder holds one of each");
    const auto owner = others->register_module(other.modality, std::make_shared<torch::nn::Module>());
    embeddings_.emplace_back(*owner, other, config_.dim, config_.class_token);
    initialise(*owner, seed_of(other.modality, seed));
  }
}

const PatchEmbedding& VisionTransformer::embedding(const EmbeddingKey& key) const {
  if (key.modality.empty() || embeddings_.front().config().modality.empty()) return embeddings_.front();
  std::string known;
  for (const auto& embedding : embeddings_) {
    if (embedding.config().key() == key) return embedding;
    known += (known.empty() ? "" : "; ") + embedding.config().key().text();
  }
  TORCH_CHECK_VALUE(false, "this encoder embeds ", known, "; the batch has ", key.text());
}

const PatchEmbedding& VisionTransformer::embedding_of(const std::string& modality) const {
  for (const auto& embedding : embeddings_)
    if (embedding.config().modality == modality) return embedding;
  TORCH_CHECK_VALUE(false, "this encoder has no embedding for the modality '", modality, "'");
}

PatchTokens VisionTransformer::tokens_of(const at::Tensor& dense) const {
  const auto& config = config_.embedding;
  TORCH_CHECK_VALUE(config.positions != Positions::kCoordinates, "this encoder takes tokens with coordinates, not a dense batch");
  TORCH_CHECK_VALUE(dense.dim() >= 2 && dense.size(1) == config.in_chans, "expected ", config.in_chans, " channels, got a batch of ", dense.sizes());
  const auto patches = patchify(dense, config.patch_size);
  PatchTokens tokens;
  tokens.values = patches.flatten(0, 1);
  tokens.lengths.assign(static_cast<std::size_t>(dense.size(0)), patches.size(1));
  std::vector<std::int64_t> grid;
  for (std::size_t axis = 0; axis < config.patch_size.size(); ++axis) grid.push_back(dense.size(static_cast<std::int64_t>(axis) + 2) / config.patch_size[axis]);
  if (grid == config.grid()) return tokens;
  // A grid that is not the table's: its positions are resampled.
  std::vector<at::Tensor> axes;
  for (const auto extent : grid) axes.push_back(at::arange(extent, at::kLong));
  const auto rank = static_cast<std::int64_t>(grid.size());
  tokens.grid = at::stack(at::meshgrid(axes, "ij"), -1).reshape({-1, rank}).repeat({dense.size(0), 1}).to(dense.device());
  tokens.extents = at::tensor(grid, at::kInt).expand({dense.size(0), rank}).contiguous();
  return tokens;
}

Features VisionTransformer::forward_view(const Input& view, const Context& context) const {
  const auto* tokens = std::get_if<PatchTokens>(&view);
  return forward_views({tokens != nullptr ? *tokens : tokens_of(std::get<DenseInput>(view).values)}, context);
}

at::Tensor VisionTransformer::embed(const PatchTokens& view, Rotation& rotation) const {
  TORCH_CHECK_VALUE(!view.lengths.empty(), "an empty batch");
  for (const auto length : view.lengths) TORCH_CHECK_VALUE(length > 0, "a sequence without tokens");
  const auto& embedding = this->embedding(view.key);
  const Rows rows(view.lengths);
  const auto x = embedding.forward(view);
  rotation = with_prefix(embedding.rotation(view, config_.dim / config_.heads), rows, prefix());
  if (prefix() == 0) return x;
  std::vector<at::Tensor> tokens;
  if (config_.class_token) {
    tokens.push_back(cls_token_[0]);
    if (const auto row = embedding.class_row(); row.defined()) tokens.back() = tokens.back() + row;
  }
  if (config_.registers > 0) tokens.push_back(reg_token_[0]);
  return prepend_token(x, tokens.size() == 1 ? tokens[0] : at::cat(tokens), rows);
}

Features VisionTransformer::forward_views(const std::vector<PatchTokens>& views, const Context& context) const {
  std::vector<at::Tensor> parts;
  std::vector<Rotation> turns;
  Lengths lengths;
  for (const auto& view : views) {
    parts.push_back(embed(view, turns.emplace_back()));
    lengths.insert(lengths.end(), view.lengths.begin(), view.lengths.end());
  }
  TORCH_CHECK_VALUE(!parts.empty(), "an empty batch");
  TORCH_CHECK_VALUE(!context.visible.defined(), "a vision transformer is given the visible patches alone, not a mask of cells");
  auto x = parts.size() == 1 ? parts[0] : at::cat(parts);
  const auto rotation = joined_rotations(turns, parts, config_.dim / config_.heads);
  const auto rows = Rows(std::move(lengths), context.samples).longer(prefix());
  at::Tensor factors;  // [depth, 2, ΣN, 1]
  if (const auto& drop_path = context.drop_path; drop_path.defined()) {
    TORCH_CHECK_VALUE(drop_path.dim() == 2 && drop_path.size(0) == 2 * config_.depth && drop_path.size(1) == rows.sequences(), "drop_path must be [",
                      2 * config_.depth, ", ", rows.sequences(), "], got ", drop_path.sizes());
    const auto repeats = at::tensor(rows.lengths(), at::kLong).to(drop_path.device());
    factors = drop_path.repeat_interleave(repeats, 1).view({config_.depth, 2, -1, 1});
  }
  if (norm_pre_) x = norm_pre_->forward(x, rows);
  Features out;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i]->forward(x, rows, factors.defined() ? factors[static_cast<std::int64_t>(i)] : at::Tensor(), rotation);
    if (std::find(context.layers.begin(), context.layers.end(), static_cast<std::int64_t>(i)) != context.layers.end())
      out.layers.push_back(norm_->forward(x, rows));
  }
  x = norm_->forward(x, rows);
  out.pooled = mean_rows(x, rows.lengths(), prefix());
  out.tokens = std::move(x);
  out.lengths = rows.lengths();
  out.class_token = config_.class_token;
  out.registers = config_.registers;
  return out;
}

std::vector<Features> VisionTransformer::forward_all(const std::vector<Input>& views, const std::vector<Context>& contexts) const {
  TORCH_CHECK_VALUE(views.size() == contexts.size(), "a context for each view: ", contexts.size(), " for ", views.size());
  std::vector<PatchTokens> packed;
  std::vector<std::int64_t> counts;
  std::vector<at::Tensor> factors;
  Context context = contexts.empty() ? Context{} : contexts.front();
  context.samples.clear();
  for (std::size_t i = 0; i < views.size(); ++i) {
    const auto* tokens = std::get_if<PatchTokens>(&views[i]);
    packed.push_back(tokens != nullptr ? *tokens : tokens_of(std::get<DenseInput>(views[i]).values));
    counts.push_back(static_cast<std::int64_t>(packed.back().lengths.size()));
    if (contexts[i].drop_path.defined()) factors.push_back(contexts[i].drop_path);
    context.samples.insert(context.samples.end(), contexts[i].samples.begin(), contexts[i].samples.end());
  }
  TORCH_CHECK_VALUE(factors.empty() || factors.size() == views.size(), "drop_path must be given for all of ", views.size(), " views or for none, got ",
                    factors.size());
  if (!factors.empty()) context.drop_path = at::cat(factors, 1);
  return split_features(forward_views(packed, context), counts);
}

at::Tensor VisionTransformer::forward_features(const at::Tensor& dense) const {
  return forward_view(DenseInput{dense, {}}).tokens.view({dense.size(0), -1, config_.dim});
}

at::Tensor VisionTransformer::forward(const at::Tensor& dense) const {
  const auto features = forward_features(dense);
  const auto pooled = config_.class_token ? features.select(1, 0) : features.slice(1, prefix()).mean(1);
  return head_ ? head_->forward(pooled, Rows::single(pooled.size(0))) : pooled;
}

}  // namespace sslmed::nn
