#include "nn/swin.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "nn/vit.h"

namespace sslmed::nn {
namespace {

constexpr double kSwinEps = 1e-5;

// [B, cells, D] as a map [B, D, spatial…].
at::Tensor map_of(const at::Tensor& x, const Grid& grid) {
  std::vector<std::int64_t> shape{x.size(0), x.size(2)};
  shape.insert(shape.end(), grid.begin(), grid.end());
  return x.transpose(1, 2).reshape(shape);
}

// [B, n, …]: n consecutive rows of each sample.
Rows rows_of(const at::Tensor& x, const Rows& single) {
  const auto each = x.numel() / std::max<std::int64_t>(x.size(0) * x.size(-1), 1);
  return Rows(Lengths(static_cast<std::size_t>(x.size(0)), each), single.samples());
}

at::Tensor plain_norm(const at::Tensor& x) { return at::layer_norm(x, {x.size(-1)}, {}, {}, kSwinEps); }

}  // namespace

// x + attention inside windows, then x + mlp(norm2(x)).
class SwinBlock : public torch::nn::Module {
 public:
  SwinBlock(const SwinConfig& config, std::int64_t dim, std::int64_t heads) : heads_(heads) {
    std::int64_t entries = 1;
    for (const auto extent : config.window_size) entries *= 2 * extent - 1;
    const auto hidden = static_cast<std::int64_t>(static_cast<double>(dim) * config.mlp_ratio);
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(dim, kSwinEps));
    const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
    table_ = attn->register_parameter("relative_position_bias_table", at::zeros({entries, heads}));
    qkv_ = attn->register_module("qkv", std::make_shared<Linear>(dim, 3 * dim));
    proj_ = attn->register_module("proj", std::make_shared<Linear>(dim, dim));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(dim, kSwinEps));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    fc1_ = mlp->register_module("fc1", std::make_shared<Linear>(dim, hidden));
    fc2_ = mlp->register_module("fc2", std::make_shared<Linear>(hidden, dim));
  }

  // `index` [N, N]: rows of the table for each pair of cells of a window. `drop_path` [2, B]: factors of the two
  // branches, or undefined.
  at::Tensor forward(const at::Tensor& x, const Windows& windows, const at::Tensor& index, const Rows& single, const at::Tensor& drop_path) const {
    const auto added = [&](const at::Tensor& sum, const at::Tensor& branch, std::int64_t which) {
      return drop_path.defined() ? sum + branch * drop_path[which].to(branch.scalar_type()).view({-1, 1, 1}) : sum + branch;
    };
    const auto rows = rows_of(x, single);
    const auto attended = added(x, attention_branch(norm1_->forward(x, rows), windows, index, single), 0);
    return added(attended, fc2_->forward(at::gelu(fc1_->forward(norm2_->forward(attended, rows), rows)), rows), 1);
  }

 private:
  at::Tensor attention_branch(const at::Tensor& x, const Windows& windows, const at::Tensor& index, const Rows& single) const {
    const auto batch = x.size(0), dim = x.size(2), cells = index.size(0);
    auto inside = gather_rows(x, windows.slots, windows.cells);
    const auto rows = rows_of(inside, single);
    const auto bias = embedding(table_, index.flatten(), Rows::single(cells * cells)).view({cells, cells, heads_}).permute({2, 0, 1});
    inside = qkv_->forward(inside, rows).view({batch * windows.count, cells, 3 * dim});
    inside = biased_attention(inside, heads_, bias, windows.regions, rows);
    // Every cell's own row is left: what was padded is not projected.
    return proj_->forward(gather_rows(inside.view({batch, -1, dim}), windows.cells, windows.slots), rows_of(x, single));
  }

  std::int64_t heads_;
  at::Tensor table_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<Linear> qkv_, proj_, fc1_, fc2_;
};

// Blocks with windows that are shifted in every second one, and the merging of cells before (timm) or after them
// (MONAI).
class SwinStage : public torch::nn::Module {
 public:
  SwinStage(const SwinConfig& config, std::size_t number) : config_(config) {
    const auto dim = config.embed_dim << number;
    const bool first = number == 0;
    if (config.monai || !first) {
      const auto joined = (config.monai ? dim : dim / 2) << config.window_size.size();
      const auto downsample = register_module("downsample", std::make_shared<torch::nn::Module>());
      merge_norm_ = downsample->register_module("norm", std::make_shared<LayerNorm>(joined, kSwinEps));
      const auto reduction = downsample->register_module("reduction", std::make_shared<torch::nn::Module>());
      merge_weight_ = reduction->register_parameter("weight", at::zeros({config.monai ? 2 * dim : dim, joined}));
    }
    const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
    for (std::int64_t i = 0; i < config.depths[number]; ++i)
      blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<SwinBlock>(config, dim, config.heads[number])));
  }

  // `drop_path` [depth, 2, B], or undefined. `grid` becomes that of the result.
  at::Tensor forward(at::Tensor x, Grid& grid, const Rows& single, const at::Tensor& drop_path) const {
    if (!config_.monai) x = merged(x, grid, single);
    auto window = config_.window_size;
    Grid none(grid.size(), 0), shift(none);
    for (std::size_t axis = 0; axis < grid.size(); ++axis) {
      const bool covered = grid[axis] <= window[axis];
      shift[axis] = covered ? 0 : window[axis] / 2;
      window[axis] = covered ? grid[axis] : window[axis];
    }
    const auto index = relative_index(window, config_.window_size, config_.first_rows).to(x.device());
    const auto plain = on_device(Windows(grid, window, none, config_.padding), x), shifted = on_device(Windows(grid, window, shift, config_.padding), x);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const auto factors = drop_path.defined() ? drop_path[static_cast<std::int64_t>(i)] : at::Tensor();
      x = blocks_[i]->forward(x, i % 2 == 0 ? plain : shifted, index, single, factors);
    }
    return config_.monai ? merged(x, grid, single) : x;
  }

  std::int64_t depth() const { return static_cast<std::int64_t>(blocks_.size()); }

 private:
  static Windows on_device(Windows windows, const at::Tensor& x) {
    windows.slots = windows.slots.to(x.device());
    windows.cells = windows.cells.to(x.device());
    if (windows.regions.defined()) windows.regions = windows.regions.to(x.device());
    return windows;
  }

  at::Tensor merged(const at::Tensor& x, Grid& grid, const Rows& single) const {
    if (!merge_norm_) return x;
    const auto joined = merge_neighbors(x, grid, config_.merging);
    const auto rows = rows_of(joined, single);
    return linear(merge_norm_->forward(joined, rows), merge_weight_, {}, rows);
  }

  SwinConfig config_;
  std::shared_ptr<LayerNorm> merge_norm_;
  at::Tensor merge_weight_;
  std::vector<std::shared_ptr<SwinBlock>> blocks_;
};

Swin::Swin(DenseShape dense, SwinConfig config, std::uint64_t seed) : DenseEncoder(std::move(dense)), config_(std::move(config)) {
  for (std::size_t i = 0; i < config_.heads.size(); ++i) {
    const auto dim = config_.embed_dim << i;
    TORCH_CHECK_VALUE(dim % config_.heads[i] == 0, "embed_dim=", config_.embed_dim, ": the ", dim, " channels of stage ", i, " must be a multiple of its ",
                      config_.heads[i], " heads");
  }
  const auto patch_embed = register_module("patch_embed", std::make_shared<torch::nn::Module>());
  const auto proj = patch_embed->register_module("proj", std::make_shared<torch::nn::Module>());
  std::vector<std::int64_t> shape{config_.embed_dim, dense_shape().in_chans};
  shape.insert(shape.end(), config_.patch_size.begin(), config_.patch_size.end());
  patch_weight_ = proj->register_parameter("weight", at::zeros(shape));
  patch_bias_ = proj->register_parameter("bias", at::zeros({config_.embed_dim}));
  if (!config_.monai) patch_norm_ = patch_embed->register_module("norm", std::make_shared<LayerNorm>(config_.embed_dim, kSwinEps));
  const auto layers = register_module("layers", std::make_shared<torch::nn::Module>());
  for (std::size_t i = 0; i < config_.depths.size(); ++i)
    stages_.push_back(layers->register_module(std::to_string(i), std::make_shared<SwinStage>(config_, i)));
  const auto dim = widths().back();
  if (!config_.monai) norm_ = register_module("norm", std::make_shared<LayerNorm>(dim, kSwinEps));
  const auto head = std::make_shared<torch::nn::Module>();
  make_head(*head, "fc", dim);
  if (dense_shape().num_classes > 0) register_module("head", head);
  const c10::NoGradGuard guard;
  const auto generator = at::detail::createCPUGenerator(seed);
  for (auto& item : named_parameters())
    if (item.value().dim() >= 2) item.value().normal_(0, 0.02, generator);
}

EncoderShape Swin::shape() const {
  return {widths().back(), std::accumulate(config_.depths.begin(), config_.depths.end(), std::int64_t{0}), config_.heads.back(), false, 0};
}

std::vector<std::int64_t> Swin::widths() const {
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < config_.depths.size() + (config_.monai ? 1 : 0); ++i) out.push_back(config_.embed_dim << i);
  return out;
}

std::vector<std::int64_t> Swin::strides() const {
  const auto patch = *std::max_element(config_.patch_size.begin(), config_.patch_size.end());
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < widths().size(); ++i) out.push_back(patch << i);
  return out;
}

std::vector<std::vector<std::int64_t>> Swin::axis_strides() const {
  std::vector<std::vector<std::int64_t>> out;
  for (std::size_t i = 0; i < widths().size(); ++i) {
    auto stride = config_.patch_size;
    for (auto& cells : stride) cells <<= i;
    out.push_back(std::move(stride));
  }
  return out;
}

std::int64_t Swin::layer_of(const std::string& parameter) const {
  const std::string layers = "layers.", blocks = ".blocks.";
  if (!parameter.starts_with(layers)) return Encoder::layer_of(parameter);
  const auto stage = std::stoul(parameter.substr(layers.size()));
  const auto before = std::accumulate(config_.depths.begin(), config_.depths.begin() + static_cast<std::ptrdiff_t>(stage), std::int64_t{0});
  if (const auto found = parameter.find(blocks); found != std::string::npos) return before + std::stoll(parameter.substr(found + blocks.size())) + 1;
  return config_.monai ? before + config_.depths[stage] : before;  // merged cells belong to the block before them
}

at::Tensor Swin::embedded(const at::Tensor& input, Grid& grid, const Rows& single) const {
  std::vector<std::int64_t> pad;  // the last axis first
  for (auto axis = config_.patch_size.size(); axis-- > 0;) {
    const auto patch = config_.patch_size[axis], extent = input.size(static_cast<std::int64_t>(axis) + 2);
    pad.insert(pad.end(), {0, (patch - extent % patch) % patch});
    grid.insert(grid.begin(), (extent + patch - 1) / patch);
  }
  const bool padded = std::any_of(pad.begin(), pad.end(), [](std::int64_t cells) { return cells > 0; });
  const auto patches = patchify(padded ? at::constant_pad_nd(input, pad) : input, config_.patch_size);
  const auto rows = rows_of(patches, single);
  // Stored as timm has it, [D, C, p…]; patches are (p…, c).
  const auto x = linear(patches, patch_weight_.movedim(1, -1).reshape({patch_weight_.size(0), -1}), patch_bias_, rows);
  return patch_norm_ ? patch_norm_->forward(x, rows) : x;
}

Features Swin::forward_dense(const at::Tensor& input, const Context& context) const {
  const auto single = Rows::single(input.size(0), context.samples);
  auto factors = context.drop_path;
  if (factors.defined()) {
    const auto depth = shape().depth;
    TORCH_CHECK_VALUE(factors.dim() == 2 && factors.size(0) == 2 * depth && factors.size(1) == input.size(0), "drop_path must be [", 2 * depth, ", ",
                      input.size(0), "], got ", factors.sizes());
    factors = factors.view({depth, 2, -1});
  }
  Grid grid;
  auto x = embedded(input, grid, single);
  const auto shown = [&] { return map_of(config_.monai && config_.normalize ? plain_norm(x) : x, grid); };
  std::vector<at::Tensor> pyramid;
  if (config_.monai) pyramid.push_back(shown());
  std::int64_t first = 0;
  for (const auto& stage : stages_) {
    x = stage->forward(x, grid, single, factors.defined() ? factors.narrow(0, first, stage->depth()) : at::Tensor());
    first += stage->depth();
    pyramid.push_back(shown());
  }
  if (norm_) x = norm_->forward(x, rows_of(x, single));
  if (config_.monai && config_.normalize) x = plain_norm(x);
  Features out;
  out.lengths.assign(static_cast<std::size_t>(x.size(0)), x.size(1));
  out.pooled = x.mean(1);
  out.tokens = x.flatten(0, 1);
  out.pyramid = std::move(pyramid);
  return out;
}

namespace {

std::array<std::int64_t, 4> four(ModelOptions& options, const std::string& model, const std::string& name, const std::array<std::int64_t, 4>& otherwise) {
  const auto values = options.integers(name, {otherwise.begin(), otherwise.end()});
  TORCH_CHECK_VALUE(values.size() == 4, model, ": ", name, " has ", values.size(), " numbers, expected one for each of 4 stages");
  for (const auto value : values) TORCH_CHECK_VALUE(value > 0, model, ": ", name, "=", value, " must be at least 1");
  return {values[0], values[1], values[2], values[3]};
}

}  // namespace

std::shared_ptr<DenseEncoder> build_swin(const ModelConfig& model, ModelOptions& options) {
  SwinConfig config;
  const bool volumes = model.rank == 3;
  config.monai = options.choice("style", volumes ? std::vector<std::string>{"monai", "timm"} : std::vector<std::string>{"timm", "monai"}) == "monai";
  const bool tiny = model.name == "swin_tiny", base = model.name == "swin_base";
  if (volumes) {
    config.embed_dim = tiny ? 24 : base ? 96 : 48;
    config.depths = {2, 2, 2, 2};
  } else {
    config.embed_dim = base ? 128 : 96;
    if (!tiny) config.depths = {2, 2, 18, 2};
    if (base) config.heads = {4, 8, 16, 32};
  }
  config.embed_dim = options.positive("embed_dim", config.embed_dim);
  config.depths = four(options, model.name, "depths", config.depths);
  config.heads = four(options, model.name, "num_heads", config.heads);
  config.patch_size = options.axes("patch_size", {volumes ? 2 : 4});
  config.window_size = options.axes("window_size", {7});
  config.mlp_ratio = options.number("mlp_ratio", config.mlp_ratio);
  TORCH_CHECK_VALUE(config.mlp_ratio > 0, model.name, ": mlp_ratio=", config.mlp_ratio, " must be positive");
  config.normalize = options.flag("normalize", true);
  config.padding = config.monai ? WindowPadding::kPadFirst : WindowPadding::kRollFirst;
  config.first_rows = options.choice("window_mode", {"correct", "monai"}) == "monai";
  const std::vector<std::string> orders{"timm", "monai", "monai_legacy", "mergingv2"};
  auto names = orders;
  if (config.monai) std::swap(names[0], names[1]);
  const auto merging = options.choice("merging", names);
  config.merging = static_cast<Merging>(std::find(orders.begin(), orders.end(), merging) - orders.begin());
  options.finish();
  return std::make_shared<Swin>(model.shape(), std::move(config), model.seed);
}

}  // namespace sslmed::nn
