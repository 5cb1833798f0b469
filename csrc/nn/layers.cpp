#include "nn/layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace sslmed::nn {

Linear::Linear(std::int64_t in, std::int64_t out, const Lora& lora)
    : weight(register_parameter("weight", at::zeros({out, in}))), bias(register_parameter("bias", at::zeros({out}))) {
  if (lora.rank == 0) return;
  lora_a = register_parameter("lora_a", at::zeros({lora.rank, in}));
  lora_b = register_parameter("lora_b", at::zeros({out, lora.rank}));
  if (lora.alpha > 0) lora_scale_ = lora.alpha / static_cast<double>(lora.rank);
}

at::Tensor Linear::forward(const at::Tensor& x, const Rows& rows) const {
  const auto out = linear(x, weight, bias, rows);
  return lora_a.defined() ? out + linear(linear(x, lora_a, at::Tensor(), rows), lora_b, at::Tensor(), rows) * lora_scale_ : out;
}

LayerNorm::LayerNorm(std::int64_t dim, double eps)
    : weight(register_parameter("weight", at::ones({dim}))), bias(register_parameter("bias", at::zeros({dim}))), eps_(eps) {}

std::int64_t BlockConfig::hidden(std::int64_t dim) const {
  if (mlp_dim > 0) return mlp_dim;
  const auto units = static_cast<std::int64_t>(static_cast<double>(dim) * mlp_ratio);
  return mlp == Mlp::kSwiGlu ? (units * 2 / 3 + 7) / 8 * 8 : units;
}

namespace {

BlockConfig block_of_ratio(double mlp_ratio) {
  BlockConfig config;
  config.mlp_ratio = mlp_ratio;
  return config;
}

}  // namespace

Block::Block(std::int64_t dim, std::int64_t heads, double mlp_ratio) : Block(dim, heads, block_of_ratio(mlp_ratio)) {}

Block::Block(std::int64_t dim, std::int64_t heads, const BlockConfig& config) : heads_(heads), kind_(config.mlp) {
  const auto hidden = config.hidden(dim);
  const auto layer_scale = [&](const char* name) {
    if (config.layer_scale == 0) return at::Tensor();
    const auto owner = register_module(name, std::make_shared<torch::nn::Module>());
    return owner->register_parameter("gamma", at::full({dim}, config.layer_scale));
  };
  norm1_ = register_module("norm1", std::make_shared<LayerNorm>(dim, config.norm_eps));
  const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
  qkv_ = attn->register_module("qkv", std::make_shared<Linear>(dim, 3 * dim, config.lora));
  proj_ = attn->register_module("proj", std::make_shared<Linear>(dim, dim, config.lora));
  ls1_ = layer_scale("ls1");
  norm2_ = register_module("norm2", std::make_shared<LayerNorm>(dim, config.norm_eps));
  const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
  fc1_ = mlp->register_module("fc1", std::make_shared<Linear>(dim, kind_ == Mlp::kSwiGlu ? 2 * hidden : hidden));
  fc2_ = mlp->register_module("fc2", std::make_shared<Linear>(hidden, dim));
  ls2_ = layer_scale("ls2");
}

at::Tensor Block::mlp(const at::Tensor& x, const Rows& rows) const {
  const auto hidden = fc1_->forward(x, rows);
  if (kind_ == Mlp::kGelu) return fc2_->forward(at::gelu(hidden), rows);
  if (kind_ == Mlp::kQuickGelu) return fc2_->forward(hidden * at::sigmoid(hidden * 1.702), rows);
  const auto halves = hidden.chunk(2, -1);
  return fc2_->forward(at::silu(halves[0]) * halves[1], rows);
}

at::Tensor Block::forward(const at::Tensor& x, const Rows& rows, const at::Tensor& drop_path, const Rotation& rotation) const {
  const auto scaled = [&](at::Tensor branch, const at::Tensor& gamma, std::int64_t which) {
    if (gamma.defined()) branch = scale(branch, gamma, rows);
    return drop_path.defined() ? branch * drop_path[which].to(branch.scalar_type()) : branch;
  };
  const auto qkv = rotate(qkv_->forward(norm1_->forward(x, rows), rows), rotation, heads_);
  const auto attended = x + scaled(proj_->forward(attention(qkv, rows, heads_), rows), ls1_, 0);
  return attended + scaled(mlp(norm2_->forward(attended, rows), rows), ls2_, 1);
}

AttentivePool::AttentivePool(std::int64_t dim, std::int64_t heads, double mlp_ratio) : heads_(heads) {
  TORCH_CHECK_VALUE(heads > 0 && dim % heads == 0, "width ", dim, " must be a multiple of ", heads, " heads");
  const auto hidden = static_cast<std::int64_t>(static_cast<double>(dim) * mlp_ratio);
  latent_ = register_parameter("latent", at::zeros({1, 1, dim}));
  q_ = register_module("q", std::make_shared<Linear>(dim, dim));
  kv_ = register_module("kv", std::make_shared<Linear>(dim, 2 * dim));
  proj_ = register_module("proj", std::make_shared<Linear>(dim, dim));
  norm_ = register_module("norm", std::make_shared<LayerNorm>(dim));
  const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
  fc1_ = mlp->register_module("fc1", std::make_shared<Linear>(dim, hidden));
  fc2_ = mlp->register_module("fc2", std::make_shared<Linear>(hidden, dim));
}

at::Tensor AttentivePool::forward(const at::Tensor& x, const Rows& rows) const {
  // The query is the same for all; what it finds, one row a sequence, is a sample's own.
  const auto single = rows.single();
  const auto query = q_->forward(latent_[0], Rows::single(1));
  const auto pooled = proj_->forward(query_attention(query, kv_->forward(x, rows), rows, heads_), single);
  return pooled + fc2_->forward(at::gelu(fc1_->forward(norm_->forward(pooled, single), single)), single);
}

void initialise(torch::nn::Module& module, std::uint64_t seed) {
  const c10::NoGradGuard guard;
  const auto generator = at::detail::createCPUGenerator(seed);
  for (auto& item : module.named_parameters()) {
    const std::string& name = item.key();
    auto& parameter = item.value();
    const bool is_table = name.find("token") != std::string::npos || name.find("latent") != std::string::npos || name.find("table") != std::string::npos ||
                          name.find("pos_embed") == name.size() - 9;
    if (is_table) {
      parameter.normal_(0, 0.02, generator);
    } else if (parameter.dim() >= 2) {
      const auto fan_out = static_cast<double>(parameter.size(0)), fan_in = static_cast<double>(parameter.numel()) / fan_out;
      const bool adapter = name.find("lora_a") != std::string::npos;
      if (name.find("lora_b") != std::string::npos) continue;  // zero: the adapted matrix starts as it was
      const double bound = adapter ? 1 / std::sqrt(fan_in) : std::sqrt(6.0 / (fan_in + fan_out));
      parameter.uniform_(-bound, bound, generator);
    }
  }
}

at::Tensor sincos_table(const std::vector<std::int64_t>& grid, std::int64_t dim, bool class_token) {
  const auto rank = static_cast<std::int64_t>(grid.size());
  const std::int64_t part = dim / (2 * rank) * 2;  // features an axis; what does not divide stays zero
  std::int64_t cells = 1;
  for (const auto n : grid) cells *= n;
  const auto table = at::zeros({cells + (class_token ? 1 : 0), dim}, at::kDouble);
  auto values = table.accessor<double, 2>();
  for (std::int64_t cell = 0; cell < cells; ++cell) {
    std::int64_t rest = cell;
    for (std::int64_t axis = 0; axis < rank; ++axis) {  // axis 0 here is the last of the grid
      const std::int64_t extent = grid[static_cast<std::size_t>(rank - 1 - axis)];
      const auto position = static_cast<double>(rest % extent);
      rest /= extent;
      for (std::int64_t k = 0; k < part / 2; ++k) {
        const double angle = position / std::pow(10000.0, static_cast<double>(k) / (static_cast<double>(part) / 2));
        values[cell + (class_token ? 1 : 0)][axis * part + k] = std::sin(angle);
        values[cell + (class_token ? 1 : 0)][axis * part + part / 2 + k] = std::cos(angle);
      }
    }
  }
  return table.to(at::kFloat);
}

}  // namespace sslmed::nn
