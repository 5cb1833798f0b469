// Torch-aware launch code; built only where torch has CUDA.

#include "ops/soft_cross_entropy.h"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "ops/cuda/scalar_of.h"
#include "ops/cuda/soft_cross_entropy_kernel.h"

namespace sslmed::ops {
namespace {

constexpr const char* kWhere = "soft_cross_entropy";

cuda::CrossEntropyJob cross_entropy_job(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs, double temperature) {
  return {logits.const_data_ptr(), targets.const_data_ptr(), pairs.const_data_ptr(), logits.size(0),
          targets.size(0),         logits.size(1),           logits.size(2),         1 / temperature};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_cross_entropy_on_cuda(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                                                          double temperature) {
  check_soft_cross_entropy(logits, targets, pairs, temperature);
  const c10::cuda::CUDAGuard guard(logits.device());
  const auto x = logits.contiguous(), t = targets.contiguous(), p = pairs.contiguous();
  auto losses = at::empty({x.size(0), x.size(1)}, t.options()), lse = at::empty_like(losses), mass = at::empty_like(losses);
  C10_CUDA_CHECK(cuda::soft_cross_entropy_rows(scalar_of(kWhere, x), cross_entropy_job(x, t, p, temperature), losses.data_ptr(), lse.data_ptr(),
                                               mass.data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return {losses, lse, mass};
}

at::Tensor soft_cross_entropy_backward_on_cuda(const at::Tensor& grad, const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                               const at::Tensor& lse, const at::Tensor& mass, double temperature) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const auto x = logits.contiguous(), t = targets.contiguous(), p = pairs.contiguous(), g = grad.contiguous();
  const auto sums = lse.contiguous(), masses = mass.contiguous();
  auto into = at::empty_like(x);
  C10_CUDA_CHECK(cuda::soft_cross_entropy_rows_backward(scalar_of(kWhere, x), cross_entropy_job(x, t, p, temperature), g.const_data_ptr(),
                                                        sums.const_data_ptr(), masses.const_data_ptr(), into.data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return into;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CUDA, m) {
  m.impl("soft_cross_entropy", sslmed::ops::soft_cross_entropy_on_cuda);
  m.impl("soft_cross_entropy_backward", sslmed::ops::soft_cross_entropy_backward_on_cuda);
}
