// Torch-aware launch code; built only where torch has CUDA.

#include "ops/volume_spatial.h"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>

#include "ops/cuda/volume_spatial_kernel.h"
#include "transforms/volume_spatial.h"

namespace sslmed::ops {

namespace {

template <class T>
at::Tensor bytes_on(const std::vector<T>& values, const at::Device& device) {
  auto bytes = at::empty({static_cast<std::int64_t>(values.size() * sizeof(T))}, at::kByte);
  if (!values.empty()) std::memcpy(bytes.data_ptr(), values.data(), values.size() * sizeof(T));
  return bytes.to(device);
}

template <class T>
void warp_with(const cuda::WarpJob& job, const at::Tensor& volumes, at::Tensor& out) {
  C10_CUDA_CHECK(cuda::warp_volume(job, volumes.const_data_ptr<T>(), out.data_ptr<T>(), c10::cuda::getCurrentCUDAStream()));
}

at::Tensor warp_volume_on_cuda(const at::Tensor& volumes, const c10::intrusive_ptr<VolumeMapHolder>& holder, std::int64_t interpolation,
                               std::optional<double> fill) {
  const auto& warp = holder->warp;
  const auto& map = warp.map();
  check_warp(volumes, map, static_cast<transforms::VolumeInterpolation>(interpolation));
  const c10::cuda::CUDAGuard guard(volumes.device());
  auto out = at::empty({volumes.size(0), map.to[0], map.to[1], map.to[2]}, volumes.options());
  const auto steps = bytes_on(warp.steps().steps, volumes.device()), controls = bytes_on(warp.steps().controls, volumes.device());
  const auto outside = outside_of(volumes, warp, fill).to(volumes.device());
  auto folded = at::zeros({1}, volumes.options().dtype(at::kInt));
  cuda::WarpJob job{};
  job.steps = static_cast<const transforms::WarpStep*>(steps.const_data_ptr());
  job.n = static_cast<std::int64_t>(warp.steps().steps.size());
  job.controls = static_cast<const float*>(controls.const_data_ptr());
  job.volumes = volumes.size(0);
  std::copy(map.from.begin(), map.from.end(), job.from);
  std::copy(map.to.begin(), map.to.end(), job.to);
  job.how = static_cast<std::int32_t>(interpolation);
  job.outside = outside.const_data_ptr<double>();
  job.folded = static_cast<unsigned*>(folded.data_ptr());
  if (volumes.scalar_type() == at::kFloat) {
    warp_with<float>(job, volumes, out);
  } else if (volumes.scalar_type() == at::kInt) {
    warp_with<std::int32_t>(job, volumes, out);
  } else {
    warp_with<std::uint8_t>(job, volumes, out);
  }
  const auto& all = warp.steps().steps;
  const bool undoes = std::any_of(all.begin(), all.end(), [](const auto& step) { return step.kind == transforms::WarpStep::kElasticInverse; });
  if (undoes && folded.item<int>() != 0) transforms::throw_folded();
  return out;
}

at::Tensor lose_resolution_on_cuda(const at::Tensor& volumes, std::int64_t axis, double factor) {
  check_lose_resolution(volumes, axis, factor);
  const c10::cuda::CUDAGuard guard(volumes.device());
  auto out = at::empty_like(volumes);
  const auto made = transforms::resolution_taps(volumes.size(axis + 1), factor);
  const auto index = bytes_on(made.index, volumes.device()), weight = bytes_on(made.weight, volumes.device());
  cuda::TapsJob job{static_cast<const std::int32_t*>(index.const_data_ptr()), static_cast<const float*>(weight.const_data_ptr()), made.taps, 1, made.cells, 1};
  for (std::int64_t a = 0; a < 4; ++a) (a <= axis ? job.before : job.after) *= a == axis + 1 ? 1 : volumes.size(a);
  C10_CUDA_CHECK(cuda::weigh_taps(job, volumes.const_data_ptr<float>(), out.data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  return out;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CUDA, m) {
  m.impl("warp_volume", sslmed::ops::warp_volume_on_cuda);
  m.impl("lose_resolution", sslmed::ops::lose_resolution_on_cuda);
}
