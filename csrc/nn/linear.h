#pragma once
// A linear layer through oneDNN, for processors on which the BLAS that PyTorch comes with is slow.

#include <ATen/core/Tensor.h>

namespace sslmed::nn {

// Whether this layer, now, is faster through oneDNN: float32 on an AMD processor with AVX-512, where MKL does not take its code for that, and large enough to
// be worth the kernel that oneDNN makes for every shape that it sees. It depends on shapes and the machine alone: a resumed run takes the same way.
bool prefers_onednn(const at::Tensor& x, const at::Tensor& weight);

// x [..., K], weight [N, K], bias [N] or undefined → [..., N], float32. Differentiable once. std::runtime_error where PyTorch has no oneDNN.
at::Tensor linear_by_onednn(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace sslmed::nn
