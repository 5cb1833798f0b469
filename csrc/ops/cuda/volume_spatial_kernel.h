#pragma once
// Launchers on raw pointers, without torch headers, so that nvcc compiles them also where torch has no CUDA.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "transforms/volume_formulas.h"

namespace sslmed::ops::cuda {

struct WarpJob {
  const transforms::WarpStep* steps;  // [n], on the device, as `controls`
  std::int64_t n;
  const float* controls;
  std::int64_t volumes, from[3], to[3];
  std::int32_t how;       // 0 linear, 1 nearest, 2 label
  const double* outside;  // [volumes]
  unsigned* folded;       // counts the cells whose displacement could not be undone
};

// source [volumes, from…] to out [volumes, to…].
cudaError_t warp_volume(const WarpJob& job, const float* source, float* out, cudaStream_t stream);
cudaError_t warp_volume(const WarpJob& job, const std::int32_t* source, std::int32_t* out, cudaStream_t stream);
cudaError_t warp_volume(const WarpJob& job, const std::uint8_t* source, std::uint8_t* out, cudaStream_t stream);

// Each cell from `taps` cells along the middle axis of [before, cells, after]; tap t of cell i stands at t · cells + i.
struct TapsJob {
  const std::int32_t* index;
  const float* weight;
  std::int64_t taps, before, cells, after;
};

cudaError_t weigh_taps(const TapsJob& job, const float* source, float* out, cudaStream_t stream);

}  // namespace sslmed::ops::cuda
