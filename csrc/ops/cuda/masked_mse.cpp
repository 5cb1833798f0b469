// Torch-aware launch code; built only where torch has CUDA.

#include "ops/masked_mse.h"

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "ops/cuda/masked_mse_kernel.h"
#include "ops/cuda/scalar_of.h"

namespace sslmed::ops {

namespace {

// [B, N] float32, or undefined: all rows count.
at::Tensor weights_of(const std::optional<at::Tensor>& mask) { return mask ? mask->to(at::kFloat).contiguous() : at::Tensor(); }

const float* values_of(const at::Tensor& weights) { return weights.defined() ? weights.const_data_ptr<float>() : nullptr; }

at::Tensor forward(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm) {
  check_masked_mse(pred, target, mask, norm);
  const c10::cuda::CUDAGuard guard(pred.device());
  const auto p = pred.contiguous(), t = target.contiguous(), w = weights_of(mask);
  const std::int64_t rows = p.size(0) * p.size(1);
  const auto count = w.defined() ? w.sum(at::kDouble) : at::scalar_tensor(static_cast<double>(rows), p.options().dtype(at::kDouble));
  TORCH_CHECK_VALUE(rows > 0 && (!w.defined() || count.item<double>() > 0), "masked_mse: the mask is empty, so there is nothing to average over");
  auto sums = at::empty({rows}, p.options().dtype(at::kDouble));
  C10_CUDA_CHECK(cuda::masked_mse_rows(scalar_of("masked_mse", p), p.const_data_ptr(), t.const_data_ptr(), values_of(w), sums.data_ptr<double>(), rows,
                                       p.size(2), norm, c10::cuda::getCurrentCUDAStream()));
  return (sums.sum() / count).to(at::toOpMathType(p.scalar_type()));
}

std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask,
                                            bool norm, bool wants_target) {
  const c10::cuda::CUDAGuard guard(pred.device());
  const auto p = pred.contiguous(), t = target.contiguous(), w = weights_of(mask);
  const auto scale = (w.defined() ? grad.to(at::kDouble) / w.sum(at::kDouble) : grad.to(at::kDouble) / static_cast<double>(p.size(0) * p.size(1))).contiguous();
  auto grad_pred = at::empty_like(p), grad_target = wants_target ? at::empty_like(p) : at::Tensor();
  C10_CUDA_CHECK(cuda::masked_mse_rows_backward(scalar_of("masked_mse", p), p.const_data_ptr(), t.const_data_ptr(), values_of(w),
                                                scale.const_data_ptr<double>(), grad_pred.data_ptr(), wants_target ? grad_target.data_ptr() : nullptr,
                                                p.size(0) * p.size(1), p.size(2), norm, c10::cuda::getCurrentCUDAStream()));
  return {grad_pred, grad_target};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CUDA, m) {
  m.impl("masked_mse", sslmed::ops::forward);
  m.impl("masked_mse_backward", sslmed::ops::backward);
}
