#pragma once
// Mean squared error over masked patches, the loss of masked auto-encoders (He et al., arXiv 2111.06377).

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace sslmed::ops {

// pred, target [B, N, P] floating point of one dtype; mask [B, N], 1 = counts; none: all count. With `norm` each target patch is first
// (x - mean) / sqrt(var + 1e-6), var unbiased. Returns the scalar sum(mask * patch MSE) / sum(mask).
// Half precision accumulates in float. ValueError on mismatched shapes, P < 2 with norm, or an empty mask.
at::Tensor masked_mse(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm);

// The gradients with respect to pred and, where it is wanted, target, times `grad` (scalar).
std::tuple<at::Tensor, at::Tensor> masked_mse_backward(const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
                                                       const std::optional<at::Tensor>& mask, bool norm, bool wants_target);

// For the kernels, so that whoever comes through the dispatcher is checked too.
void check_masked_mse(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm);

constexpr double kMaskedMseEps = 1e-6;

}  // namespace sslmed::ops
