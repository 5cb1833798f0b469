#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include "ops/volume_spatial.h"
#include "transforms/volume_spatial.h"

namespace sslmed::ops {

namespace {

template <class T>
void warp_on_threads(const transforms::VolumeWarp& warp, const at::Tensor& volumes, transforms::VolumeInterpolation how, const at::Tensor& outside,
                     at::Tensor& out) {
  const auto planes = warp.map().to[0];
  // Rows do not depend on each other, so that the threads' shares do not change a bit.
  at::parallel_for(0, volumes.size(0) * planes, 8, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const auto n = begin / planes, first = begin % planes, last = std::min(planes, first + end - begin);
      const T* source = volumes.const_data_ptr<T>() + n * volumes.stride(0);
      const auto beyond = static_cast<T>(outside.const_data_ptr<double>()[n]);
      warp.planes(source, how, beyond, first, last, out.data_ptr<T>() + n * out.stride(0));
      begin += last - first;
    }
  });
}

at::Tensor warp_volume_on_cpu(const at::Tensor& volumes, const c10::intrusive_ptr<VolumeMapHolder>& holder, std::int64_t interpolation,
                              std::optional<double> fill) {
  const auto& warp = holder->warp;
  const auto how = static_cast<transforms::VolumeInterpolation>(interpolation);
  check_warp(volumes, warp.map(), how);
  const auto& to = warp.map().to;
  auto out = at::empty({volumes.size(0), to[0], to[1], to[2]}, volumes.options());
  const auto outside = outside_of(volumes, warp, fill);
  if (volumes.scalar_type() == at::kFloat) {
    warp_on_threads<float>(warp, volumes, how, outside, out);
  } else if (volumes.scalar_type() == at::kInt) {
    warp_on_threads<std::int32_t>(warp, volumes, how, outside, out);
  } else {
    warp_on_threads<std::uint8_t>(warp, volumes, how, outside, out);
  }
  return out;
}

at::Tensor lose_resolution_on_cpu(const at::Tensor& volumes, std::int64_t axis, double factor) {
  check_lose_resolution(volumes, axis, factor);
  auto out = at::empty_like(volumes);
  const transforms::VolumeShape shape{out.size(1), out.size(2), out.size(3)};
  at::parallel_for(0, out.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto n = begin; n < end; ++n)
      transforms::lose_resolution(shape, static_cast<std::size_t>(axis), factor, volumes.const_data_ptr<float>() + n * out.stride(0),
                                  out.data_ptr<float>() + n * out.stride(0));
  });
  return out;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) {
  m.impl("warp_volume", sslmed::ops::warp_volume_on_cpu);
  m.impl("lose_resolution", sslmed::ops::lose_resolution_on_cpu);
}
