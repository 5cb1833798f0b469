#pragma once
// The parametrised building blocks, with timm's parameter names.

#include <torch/nn/module.h>

#include <cstdint>
#include <string>

#include "nn/functional.h"

namespace sslmed::nn {

// Low-rank adapters beside matrices (Hu et al., arXiv 2106.09685); rank 0: none.
struct Lora {
  std::int64_t rank = 0;
  double alpha = 0;  // their sum is scaled by alpha / rank; 0: by one
};

class Linear : public torch::nn::Module {
 public:
  Linear(std::int64_t in, std::int64_t out, const Lora& lora = {});
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const;
  at::Tensor weight, bias;    // [out, in], [out]
  at::Tensor lora_a, lora_b;  // [rank, in], [out, rank]; undefined without

 private:
  double lora_scale_ = 1;
};

class LayerNorm : public torch::nn::Module {
 public:
  explicit LayerNorm(std::int64_t dim, double eps = 1e-6);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return layer_norm(x, weight, bias, eps_, rows); }
  at::Tensor weight, bias;  // [dim]

 private:
  double eps_;
};

enum class Mlp {
  kGelu,       // fc2(gelu(fc1(x)))
  kQuickGelu,  // fc2(a * sigmoid(1.702 a)), a = fc1(x): CLIP's
  kSwiGlu,     // fc2(silu(a) * b), (a, b) = fc1(x): timm's SwiGLUPacked, DINOv2's giant (Shazeer, arXiv 2002.05202)
};

// What blocks have beside width and heads.
struct BlockConfig {
  double mlp_ratio = 4;
  std::int64_t mlp_dim = 0;  // hidden units, of SwiGLU those after the gate; 0: by mlp_ratio, of SwiGLU as DINOv2 has it
  Mlp mlp = Mlp::kGelu;
  double layer_scale = 0;  // initial value of ls1.gamma and ls2.gamma; 0: none
  double norm_eps = 1e-6;
  Lora lora;  // beside attention's matrices
  std::int64_t hidden(std::int64_t dim) const;
};

// x + attn(norm1(x)), then x + mlp(norm2(x)): the pre-norm transformer block of ViT, on packed rows.
class Block : public torch::nn::Module {
 public:
  Block(std::int64_t dim, std::int64_t heads, const BlockConfig& config);
  Block(std::int64_t dim, std::int64_t heads, double mlp_ratio);
  // [ΣN, D] to [ΣN, D]. `drop_path` [2, ΣN, 1]: what attention and MLP are multiplied by before they are added; undefined: nothing.
  at::Tensor forward(const at::Tensor& x, const Rows& rows, const at::Tensor& drop_path = {}, const Rotation& rotation = {}) const;

 private:
  at::Tensor mlp(const at::Tensor& x, const Rows& rows) const;

  std::int64_t heads_;
  Mlp kind_;
  at::Tensor ls1_, ls2_;  // [D]; undefined without
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<Linear> qkv_, proj_, fc1_, fc2_;
};

// What a learned query sees of each sequence: attention over its tokens, then an MLP. Parameter names are those of timm's AttentionPoolLatent.
class AttentivePool : public torch::nn::Module {
 public:
  AttentivePool(std::int64_t dim, std::int64_t heads, double mlp_ratio);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const;  // [ΣN, D] to [B, D]

 private:
  std::int64_t heads_;
  at::Tensor latent_;
  std::shared_ptr<Linear> q_, kv_, proj_, fc1_, fc2_;
  std::shared_ptr<LayerNorm> norm_;
};

// MAE's initialisation: Xavier-uniform matrices (a patch embedding as its flattened matrix), zero biases, unit norms, and
// normal(0, 0.02) for tokens and tables; adapters start as no change. Depends on `seed` and the parameter's place alone, not on torch's global generator.
void initialise(torch::nn::Module& module, std::uint64_t seed);

// Sine-cosine features of positions on a regular grid, as MAE has them: the first part encodes the last axis.
// Returns [cells (+1 with a zero row for a class token), dim].
at::Tensor sincos_table(const std::vector<std::int64_t>& grid, std::int64_t dim, bool class_token);

}  // namespace sslmed::nn
