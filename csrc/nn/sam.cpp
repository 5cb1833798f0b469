#include "nn/sam.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "nn/positions.h"
#include "nn/vit.h"

namespace sslmed::nn {
namespace {

constexpr const char* kAxes[] = {"d", "h", "w"};  // of relative tables; the last ones where there are fewer axes

std::vector<std::int64_t> sam_grid(const SamConfig& config) {
  std::vector<std::int64_t> grid;
  for (std::size_t axis = 0; axis < config.patch_size.size(); ++axis) grid.push_back(config.img_size[axis] / config.patch_size[axis]);
  return grid;
}

// A branch times the factor of each sample; undefined: as it is.
at::Tensor sam_dropped(const at::Tensor& branch, const at::Tensor& factors, std::int64_t row) {
  if (!factors.defined()) return branch;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(branch.dim()), 1);
  shape[0] = branch.size(0);
  return branch * factors[row].to(branch.scalar_type()).view(shape);
}

// [B, spatial…, D] to [B · windows, window^rank, D]: zeros fill up the last window of each axis.
at::Tensor sam_windows(const at::Tensor& map, std::int64_t window) {
  const auto rank = map.dim() - 2;
  std::vector<std::int64_t> padding{0, 0}, shape{map.size(0)}, order{0};
  for (std::int64_t axis = rank; axis >= 1; --axis) {
    padding.push_back(0);
    padding.push_back((window - map.size(axis) % window) % window);
  }
  const auto padded = at::constant_pad_nd(map, padding, 0);
  std::int64_t cells = 1;
  for (std::int64_t axis = 1; axis <= rank; ++axis) {
    shape.insert(shape.end(), {padded.size(axis) / window, window});
    order.push_back(2 * axis - 1);
    cells *= window;
  }
  for (std::int64_t axis = 1; axis <= rank; ++axis) order.push_back(2 * axis);
  shape.push_back(map.size(-1));
  order.push_back(2 * rank + 1);
  return padded.reshape(shape).permute(order).reshape({-1, cells, map.size(-1)});
}

// The inverse, for a map of `extents` cells.
at::Tensor sam_map(const at::Tensor& windows, std::int64_t window, const std::vector<std::int64_t>& extents) {
  const auto rank = static_cast<std::int64_t>(extents.size()), dim = windows.size(-1);
  std::vector<std::int64_t> shape{-1}, order{0}, whole{-1};
  for (const auto extent : extents) {
    shape.push_back((extent + window - 1) / window);
    whole.push_back(shape.back() * window);
  }
  shape.insert(shape.end(), extents.size(), window);
  for (std::int64_t axis = 1; axis <= rank; ++axis) order.insert(order.end(), {axis, rank + axis});
  shape.push_back(dim);
  whole.push_back(dim);
  order.push_back(2 * rank + 1);
  auto map = windows.reshape(shape).permute(order).reshape(whole);
  for (std::int64_t axis = 1; axis <= rank; ++axis) map = map.narrow(axis, 0, extents[static_cast<std::size_t>(axis) - 1]);
  return map;
}

}  // namespace

// x + attn(norm1(x)), then x + mlp(norm2(x)), on maps [B, spatial…, D].
class SamBlock : public torch::nn::Module {
 public:
  SamBlock(const SamConfig& config, bool global) : heads_(config.heads), window_(global ? 0 : config.window) {
    const auto dim = config.dim, hidden = config.mlp_dim > 0 ? config.mlp_dim : 4 * config.dim;
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(dim));
    const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
    qkv_ = attn->register_module("qkv", std::make_shared<Linear>(dim, 3 * dim));
    const auto grid = sam_grid(config);
    for (std::size_t axis = 0; axis < grid.size(); ++axis) {
      const auto cells = global ? grid[axis] : config.window;
      const auto name = std::string("rel_pos_") + kAxes[3 - grid.size() + axis];
      tables_.push_back(attn->register_parameter(name, at::zeros({2 * cells - 1, dim / heads_})));
    }
    proj_ = attn->register_module("proj", std::make_shared<Linear>(dim, dim));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(dim));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    fc1_ = mlp->register_module("fc1", std::make_shared<Linear>(dim, hidden));
    fc2_ = mlp->register_module("fc2", std::make_shared<Linear>(hidden, dim));
  }

  at::Tensor forward(const at::Tensor& x, const Rows& rows, const at::Tensor& drop_path, std::int64_t number) const {
    const std::vector<std::int64_t> extents(x.sizes().begin() + 1, x.sizes().end() - 1);
    const auto normed = norm1_->forward(x, rows);
    at::Tensor attended;
    if (window_ > 0) {
      const std::vector<std::int64_t> sides(extents.size(), window_);
      attended = sam_map(attend(sam_windows(normed, window_), sides, rows), window_, extents);
    } else {
      attended = attend(normed.flatten(1, -2), extents, rows).view(x.sizes());
    }
    const auto y = x + sam_dropped(attended, drop_path, 2 * number);
    const auto hidden = at::gelu(fc1_->forward(norm2_->forward(y, rows), rows));
    return y + sam_dropped(fc2_->forward(hidden, rows), drop_path, 2 * number + 1);
  }

  std::vector<at::Tensor> tables() const { return tables_; }

 private:
  // Every window attends to itself, padding included: [windows, cells, D].
  at::Tensor attend(const at::Tensor& windows, const std::vector<std::int64_t>& extents, const Rows& rows) const {
    return proj_->forward(relative_attention(qkv_->forward(windows, rows), tables_, extents, rows, heads_), rows);
  }

  std::int64_t heads_, window_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<Linear> qkv_, proj_, fc1_, fc2_;
  std::vector<at::Tensor> tables_;
};

SamEncoder::SamEncoder(DenseShape shape, SamConfig config, std::uint64_t seed) : DenseEncoder(std::move(shape)), config_(std::move(config)) {
  const auto rank = static_cast<std::size_t>(dense_shape().rank);
  TORCH_CHECK_VALUE(config_.depth > 0, "depth=", config_.depth, " must be positive");
  TORCH_CHECK_VALUE(config_.heads > 0 && config_.dim > 0 && config_.dim % config_.heads == 0, "dim=", config_.dim,
                    " must be a positive multiple of heads=", config_.heads);
  TORCH_CHECK_VALUE(config_.window > 0, "window=", config_.window, " must be positive");
  TORCH_CHECK_VALUE(config_.out_chans > 0, "out_chans=", config_.out_chans, " must be positive");
  TORCH_CHECK_VALUE(config_.mlp_dim >= 0, "mlp_dim=", config_.mlp_dim, " must be 0 (four times dim) or positive");
  TORCH_CHECK_VALUE(config_.patch_size.size() == rank && config_.img_size.size() == rank, "patch_size and img_size need ", rank, " numbers each");
  for (std::size_t axis = 0; axis < rank; ++axis)
    TORCH_CHECK_VALUE(config_.img_size[axis] % config_.patch_size[axis] == 0, "img_size=", config_.img_size[axis],
                      " is not a multiple of patch_size=", config_.patch_size[axis]);
  for (const auto block : config_.global_blocks)
    TORCH_CHECK_VALUE(block >= 0 && block < config_.depth, "global_blocks has ", block, ", expected numbers from 0 to depth-1=", config_.depth - 1);
  std::vector<std::int64_t> table{1}, kernel{config_.dim, dense_shape().in_chans}, one{config_.out_chans, config_.dim},
      three{config_.out_chans, config_.out_chans};
  for (const auto cells : sam_grid(config_)) table.push_back(cells);
  table.push_back(config_.dim);
  kernel.insert(kernel.end(), config_.patch_size.begin(), config_.patch_size.end());
  one.insert(one.end(), rank, 1);
  three.insert(three.end(), rank, 3);
  pos_embed_ = register_parameter("pos_embed", at::zeros(table));
  const auto patch_embed = register_module("patch_embed", std::make_shared<torch::nn::Module>());
  const auto proj = patch_embed->register_module("proj", std::make_shared<torch::nn::Module>());
  patch_weight_ = proj->register_parameter("weight", at::zeros(kernel));
  patch_bias_ = proj->register_parameter("bias", at::zeros({config_.dim}));
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < config_.depth; ++i) {
    const auto& all = config_.global_blocks;
    const bool global = std::find(all.begin(), all.end(), i) != all.end();
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<SamBlock>(config_, global)));
  }
  const auto neck = register_module("neck", std::make_shared<torch::nn::Module>());
  neck_in_ = neck->register_module("0", std::make_shared<torch::nn::Module>())->register_parameter("weight", at::zeros(one));
  neck_norm_in_ = neck->register_module("1", std::make_shared<LayerNorm>(config_.out_chans));
  neck_out_ = neck->register_module("2", std::make_shared<torch::nn::Module>())->register_parameter("weight", at::zeros(three));
  neck_norm_out_ = neck->register_module("3", std::make_shared<LayerNorm>(config_.out_chans));
  make_head(*this, "head", config_.out_chans);
  initialise(*this, seed);
  const c10::NoGradGuard guard;
  for (const auto& block : blocks_)
    for (auto& relative : block->tables()) relative.zero_();  // as published: no position is preferred at first
}

std::int64_t SamEncoder::min_size() const { return *std::max_element(config_.patch_size.begin(), config_.patch_size.end()); }

at::Tensor SamEncoder::embedded(const at::Tensor& x, const Rows& rows, std::vector<std::int64_t>& extents) const {
  const auto patches = patchify(x, config_.patch_size);  // [B, cells, P], P in (p…, c) order
  const auto weight = patch_weight_.movedim(1, -1).flatten(1);
  std::vector<std::int64_t> shape{x.size(0)};
  for (std::size_t axis = 0; axis < config_.patch_size.size(); ++axis)
    extents.push_back(x.size(static_cast<std::int64_t>(axis) + 2) / config_.patch_size[axis]);
  shape.insert(shape.end(), extents.begin(), extents.end());
  shape.push_back(config_.dim);
  const auto tokens = linear(patches, weight, patch_bias_, rows);
  const auto table = resample_positions(pos_embed_.flatten(1, -2), sam_grid(config_), extents, /*first=*/0);
  return (tokens + table.to(tokens.scalar_type())).view(shape);
}

at::Tensor SamEncoder::through_neck(const at::Tensor& map, const Rows& rows) const {
  auto x = linear(map, neck_in_.flatten(1), at::Tensor(), rows);
  std::vector<std::int64_t> forth{0, x.dim() - 1}, back{0};  // permutations, which ONNX has for any rank
  for (std::int64_t axis = 1; axis + 1 < x.dim(); ++axis) forth.push_back(axis), back.push_back(axis + 1);
  back.push_back(1);
  x = conv(neck_norm_in_->forward(x, rows).permute(forth), neck_out_, at::Tensor(), /*stride=*/1, /*padding=*/1, rows);
  return neck_norm_out_->forward(x.permute(back), rows).permute(forth);
}

Features SamEncoder::forward_dense(const at::Tensor& input, const Context& context) const {
  const auto rows = Rows::single(input.size(0), context.samples);
  const auto& drop_path = context.drop_path;
  TORCH_CHECK_VALUE(!drop_path.defined() || (drop_path.dim() == 2 && drop_path.size(0) == 2 * config_.depth && drop_path.size(1) == input.size(0)),
                    "drop_path must be [", 2 * config_.depth, ", ", input.size(0), "]");
  std::vector<std::int64_t> extents;
  auto x = embedded(input, rows, extents);
  for (std::size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i]->forward(x, rows, drop_path, static_cast<std::int64_t>(i));
  return features_of({through_neck(x, rows)});
}

std::shared_ptr<DenseEncoder> build_sam(const ModelConfig& model, ModelOptions& options) {
  SamConfig config;
  const bool huge = model.name == "sam_vit_huge", large = model.name == "sam_vit_large";
  config.dim = options.positive("dim", huge ? 1280 : large ? 1024 : 768);
  config.depth = options.positive("depth", huge ? 32 : large ? 24 : 12);
  config.heads = options.positive("heads", huge || large ? 16 : 12);
  config.mlp_dim = options.integer("mlp_dim", 0);
  config.window = options.positive("window", 14);
  config.out_chans = options.positive("out_chans", 256);
  config.patch_size = options.axes("patch_size", {16});
  config.img_size = options.axes("img_size", {1024});
  std::vector<std::int64_t> quarters;  // the last block of each quarter
  const auto quarter = std::max<std::int64_t>(config.depth / 4, 1);
  for (std::int64_t i = quarter - 1; i < config.depth; i += quarter) quarters.push_back(i);
  config.global_blocks = options.integers("global_blocks", quarters);
  options.finish();
  return std::make_shared<SamEncoder>(model.shape(), std::move(config), model.seed);
}

}  // namespace sslmed::nn
