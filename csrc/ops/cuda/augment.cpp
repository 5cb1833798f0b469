// Torch-aware launch code; built only where torch has CUDA.

#include "ops/augment.h"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <cstring>

#include "ops/cuda/augment_kernel.h"

namespace sslmed::ops {

namespace {

template <class T>
at::Tensor sent(const std::vector<T>& values, const at::Device& device) {
  auto bytes = at::empty({static_cast<std::int64_t>(values.size() * sizeof(T))}, at::kByte);
  std::memcpy(bytes.data_ptr(), values.data(), values.size() * sizeof(T));
  return bytes.to(device);
}

at::Tensor augment_on_cuda(const at::Tensor& pictures, const c10::intrusive_ptr<AugmentPlanList>& list, std::int64_t patch) {
  const auto rows = check_augment(pictures, list->plans, patch);
  const c10::cuda::CUDAGuard guard(pictures.device());
  const auto made = cuda::augment_jobs(list->plans);
  const auto jobs = sent(made.jobs, pictures.device()), weights = sent(made.weights, pictures.device());
  const auto area = [&](std::int64_t elements, at::ScalarType type) { return at::empty({elements}, pictures.options().dtype(type)); };
  const auto taps = area(made.sizes.taps, at::kInt), shrunk = area(made.sizes.shrunk, at::kByte), rgb = area(made.sizes.rgb, at::kByte),
             keys = area(made.sizes.keys, at::kFloat), sums = area(made.sizes.sums, at::kShort);
  auto out = at::empty({rows, 3 * patch * patch}, pictures.options());
  const cuda::AugmentMemory memory{pictures.const_data_ptr<std::uint8_t>(),
                                   static_cast<const std::int16_t*>(weights.const_data_ptr()),
                                   taps.data_ptr<std::int32_t>(),
                                   shrunk.data_ptr<std::uint8_t>(),
                                   rgb.data_ptr<std::uint8_t>(),
                                   keys.data_ptr<float>(),
                                   sums.data_ptr<std::int16_t>(),
                                   out.data_ptr<std::uint8_t>(),
                                   patch};
  C10_CUDA_CHECK(cuda::augment(static_cast<const cuda::AugmentJob*>(jobs.const_data_ptr()), static_cast<std::int64_t>(made.jobs.size()), memory,
                               c10::cuda::getCurrentCUDAStream()));
  return out;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CUDA, m) { m.impl("augment", sslmed::ops::augment_on_cuda); }
