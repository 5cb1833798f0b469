#pragma once
// The parametrised building blocks, with timm's parameter names.

#include <torch/nn/module.h>

#include <cstdint>
#include <string>

#include "nn/functional.h"

namespace sslmed::nn {

class Linear : public torch::nn::Module {
 public:
  Linear(std::int64_t in, std::int64_t out);
  at::Tensor forward(const at::Tensor& x) const { return linear(x, weight, bias); }
  at::Tensor weight, bias;  // [out, in], [out]
};

class LayerNorm : public torch::nn::Module {
 public:
  explicit LayerNorm(std::int64_t dim, double eps = 1e-6);
  at::Tensor forward(const at::Tensor& x) const { return layer_norm(x, weight, bias, eps_); }
  at::Tensor weight, bias;  // [dim]

 private:
  double eps_;
};

// x + attn(norm1(x)), then x + mlp(norm2(x)): the pre-norm transformer block of ViT, on packed rows.
class Block : public torch::nn::Module {
 public:
  Block(std::int64_t dim, std::int64_t heads, double mlp_ratio);
  at::Tensor forward(const at::Tensor& x, const Layout& layout) const;  // [ΣN, D] to [ΣN, D]

 private:
  std::int64_t heads_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<Linear> qkv_, proj_, fc1_, fc2_;
};

// MAE's initialisation: Xavier-uniform matrices (a patch embedding as its flattened matrix), zero biases, unit norms, and
// normal(0, 0.02) for tokens and tables. Depends on `seed` and the parameter's place alone, not on torch's global generator.
void initialise(torch::nn::Module& module, std::uint64_t seed);

// Sine-cosine features of positions on a regular grid, as MAE has them: the first part encodes the last axis.
// Returns [cells (+1 with a zero row for a class token), dim].
at::Tensor sincos_table(const std::vector<std::int64_t>& grid, std::int64_t dim, bool class_token);

}  // namespace sslmed::nn
