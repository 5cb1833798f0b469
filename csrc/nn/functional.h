#pragma once
// The seam under every layer: parametrised layers call only these. Here fused kernels, LoRA and per-sample gradient norms
// attach, because LibTorch has no layer hooks.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sslmed::nn {

// Consecutive sequences of one length among packed rows.
struct Run {
  std::int64_t first_row, count, length;
};
using Layout = std::vector<Run>;
// lengths [B] to runs; sorted lengths give the fewest.
Layout layout_of(const std::vector<std::int64_t>& lengths);

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);  // bias may be undefined
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);
// (x - mean) / sqrt(var + eps) * weight + bias, all [C] but x [B, C, …].
at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& mean, const at::Tensor& var, double eps);
// Multi-head attention inside each sequence. qkv [ΣN, 3·D] as one linear layer gives it (q, k, v, each heads × D/heads);
// returns [ΣN, D]. One scaled_dot_product_attention call a run, so nothing is padded.
at::Tensor attention(const at::Tensor& qkv, const Layout& layout, std::int64_t heads);
// One query [1, D] over the keys and values [ΣN, 2·D] of each sequence; returns [B, D].
at::Tensor query_attention(const at::Tensor& query, const at::Tensor& kv, const Layout& layout, std::int64_t heads);

}  // namespace sslmed::nn
