#pragma once
// Attention with a bias, window by window on the CPU: scores never leave the cache, and the backward pass makes them
// again instead of keeping them.

#include <ATen/core/Tensor.h>

namespace sslmed::nn {

// Whether it takes these: float32 or float64 on the CPU, outside autocast, and not while it is traced.
bool takes_windows(const at::Tensor& qkv, const at::Tensor& bias);
// As biased_attention of functional.h.
at::Tensor window_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& bias, const at::Tensor& regions);

}  // namespace sslmed::nn
