#pragma once
// The seam under every layer: parametrised layers call only these, and each call says whose rows it works on. Here fused kernels, LoRA and per-sample gradient
// norms attach, because LibTorch has no layer hooks. Nothing is computed from the ownership yet.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "nn/rows.h"

namespace sslmed::nn {

// Angles by which queries and keys are turned (rotary positions): cosines and sines [ΣN, D/heads], of the pairs
// (i, i + D/heads/2). Undefined: nothing is turned.
struct Rotation {
  at::Tensor cos, sin;
  bool defined() const { return cos.defined(); }
};

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows& rows);  // bias may be undefined
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps, const Rows& rows);
// x [B, C, spatial…] of any rank, weight [D, C, kernel…]; one row of `rows` a sample. `padding` on each side of every axis.
at::Tensor conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, std::int64_t stride, std::int64_t padding, const Rows& rows);
// The same with a stride and a padding for each axis.
at::Tensor conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const std::vector<std::int64_t>& stride,
                const std::vector<std::int64_t>& padding, const Rows& rows);
// The transposed convolution whose kernel is its stride: each cell becomes a block of `stride` cells. x [B, C, spatial…] of rank 1, 2 or 3, weight
// [C, D, stride…], bias [D] or undefined.
at::Tensor conv_transpose(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const std::vector<std::int64_t>& stride, const Rows& rows);
// The largest value of each window, along every axis of x [B, C, spatial…] of rank 1, 2 or 3.
at::Tensor max_pool(const at::Tensor& x, std::int64_t kernel, std::int64_t stride, std::int64_t padding, const Rows& rows);
// Every cell takes the value of the nearest one of x [B, C, spatial…] of rank 1, 2 or 3; `size` along each axis.
at::Tensor upsample_nearest(const at::Tensor& x, const std::vector<std::int64_t>& size, const Rows& rows);
// The same by linear interpolation between the middles of cells (align_corners=False).
at::Tensor upsample_linear(const at::Tensor& x, const std::vector<std::int64_t>& size, const Rows& rows);
// Means over `cells` parts of each axis, which may overlap where they do not divide it.
at::Tensor adaptive_mean(const at::Tensor& x, std::int64_t cells, const Rows& rows);
// Over the cells and the channels of each group, sample by sample: x [B, C, spatial…], weight and bias [C].
at::Tensor group_norm(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, const Rows& rows);
// (x - mean) / sqrt(var + eps) * weight + bias, all [C] but x [B, C, …]. Samples interact by their statistics: it has no ownership to tell.
at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& mean, const at::Tensor& var, double eps);
// Batch normalization of one process in one kernel. In training by the statistics of x, which the running ones (changed in place) follow by `momentum`;
// otherwise by the running ones.
at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& running_mean, const at::Tensor& running_var,
                      bool training, double momentum, double eps);
// Learned tokens [P, D] in front of each sequence of packed rows [ΣN, D] → [Σ(P+N), D].
at::Tensor prepend_token(const at::Tensor& x, const at::Tensor& token, const Rows& rows);
// A learned token [1, D] in every row: [ΣN, D], not copied.
at::Tensor repeat_token(const at::Tensor& token, const Rows& rows);
// x [ΣN, D] with a learned token [1, D] in the rows of `index` [M] int64.
at::Tensor replace_token(const at::Tensor& x, const at::Tensor& token, const at::Tensor& index, const Rows& rows);
// Rows of a learned table [T, D] by index [ΣN] int64 → [ΣN, D].
at::Tensor embedding(const at::Tensor& table, const at::Tensor& index, const Rows& rows);
// x [ΣN, D] times a learned vector gamma [D]: layer scale (Touvron et al., arXiv 2103.17239).
at::Tensor scale(const at::Tensor& x, const at::Tensor& gamma, const Rows& rows);
// qkv [ΣN, 3·D] with the queries and keys of every head turned by `rotation`; values stay.
at::Tensor rotate(const at::Tensor& qkv, const Rotation& rotation, std::int64_t heads);
// Multi-head attention inside each sequence. qkv [ΣN, 3·D] as one linear layer gives it (q, k, v, each heads × D/heads);
// returns [ΣN, D]. One scaled_dot_product_attention call a run, so nothing is padded.
at::Tensor attention(const at::Tensor& qkv, const Rows& rows, std::int64_t heads);
// Multi-head attention inside each of b windows, with relative positions along each axis (MViTv2, arXiv 2112.01526): to a
// logit is added, for every axis, the unscaled query times the table's row for how far query and key are apart. qkv
// [b, cells, 3·D], `extents` the cells of a window along each axis, tables [2·extent - 1, D/heads] (other lengths are
// resampled linearly); returns [b, cells, D].
at::Tensor relative_attention(const at::Tensor& qkv, const std::vector<at::Tensor>& tables, const std::vector<std::int64_t>& extents, const Rows& rows,
                              std::int64_t heads);
// Multi-head attention inside windows with a bias for each pair of cells. qkv [W, N, 3·D] (W a multiple of the windows of a sample, samples first), bias
// [heads, N, N], regions [windows of a sample, N] int64: 100 is taken off where two cells are of different ones; undefined: one region. Returns [W, N, D].
at::Tensor biased_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& bias, const at::Tensor& regions, const Rows& rows);
// One query [1, D] over the keys and values [ΣN, 2·D] of each sequence; returns [B, D].
at::Tensor query_attention(const at::Tensor& query, const at::Tensor& kv, const Rows& rows, std::int64_t heads);

}  // namespace sslmed::nn
