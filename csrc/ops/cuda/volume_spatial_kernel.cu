// One thread a cell of the result, for all volumes: where it comes from is worked out once.

#include <cstdint>

#include "ops/cuda/launch.h"
#include "ops/cuda/volume_spatial_kernel.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kWarpThreads = 256;

template <class T>
__device__ T value_at(const T* volume, std::int64_t cell, const transforms::CellSteps& up, const float (&weight)[3], bool) {
  return transforms::label_value(volume + cell, up, weight[0], weight[1], weight[2]);
}

__device__ inline float value_at(const float* volume, std::int64_t cell, const transforms::CellSteps& up, const float (&weight)[3], bool linear) {
  const float* at = volume + cell;
  return linear ? transforms::linear_value(at, up, weight[0], weight[1], weight[2]) : transforms::label_value(at, up, weight[0], weight[1], weight[2]);
}

template <class T>
__global__ void warp_kernel(WarpJob job, const T* source, T* out) {
  const std::int64_t cells = job.to[0] * job.to[1] * job.to[2], size = job.from[0] * job.from[1] * job.from[2];
  const std::int64_t cell = static_cast<std::int64_t>(blockIdx.x) * kWarpThreads + threadIdx.x;
  if (cell >= cells) return;
  const std::int64_t row = cell / job.to[2];
  double place[3] = {static_cast<double>(row / job.to[1]) + 0.5, static_cast<double>(row % job.to[1]) + 0.5, static_cast<double>(cell % job.to[2]) + 0.5};
  if (!transforms::warp_place(job.steps, job.n, job.controls, transforms::kInverseTolerance, place)) atomicAdd(job.folded, 1U);
  std::int64_t at = 0;
  float weight[3];
  bool inside = true;
  for (int a = 0; a < 3; ++a) {
    const auto n = static_cast<std::int32_t>(job.from[a]);
    inside = inside && place[a] >= 0 && place[a] < n;
    const std::int32_t lower = transforms::lower_cell(place[a], n, weight[a]);
    at = at * n + (job.how == 1 && inside ? static_cast<std::int32_t>(place[a]) : lower);
  }
  const std::int64_t x = job.from[0] > 1 ? job.from[1] * job.from[2] : 0, y = job.from[1] > 1 ? job.from[2] : 0, z = job.from[2] > 1 ? 1 : 0;
  for (std::int64_t v = 0; v < job.volumes; ++v) {
    const T* volume = source + v * size;
    T value = static_cast<T>(job.outside[v]);
    if (inside) value = job.how == 1 ? volume[at] : value_at(volume, at, {x, y, z}, weight, job.how == 0);
    out[v * cells + cell] = value;
  }
}

__global__ void taps_kernel(TapsJob job, const float* source, float* out) {
  const std::int64_t n = job.before * job.cells * job.after, at = static_cast<std::int64_t>(blockIdx.x) * kWarpThreads + threadIdx.x;
  if (at >= n) return;
  const std::int64_t column = at % job.after, line = at / job.after, cell = line % job.cells;
  const float* from = source + (line - cell) * job.after + column;
  float sum = 0;
  for (std::int64_t t = 0; t < job.taps; ++t) sum += job.weight[t * job.cells + cell] * from[job.index[t * job.cells + cell] * job.after];
  out[at] = sum;
}

dim3 blocks_for(std::int64_t n) { return dim3{static_cast<unsigned>((n + kWarpThreads - 1) / kWarpThreads), 1, 1}; }

template <class T>
cudaError_t warp_on_device(const WarpJob& job, const T* source, T* out, cudaStream_t stream) {
  const std::int64_t cells = job.to[0] * job.to[1] * job.to[2];
  if (cells == 0 || job.volumes == 0) return cudaSuccess;
  return launch(warp_kernel<T>, blocks_for(cells), kWarpThreads, stream, job, source, out);
}

}  // namespace

cudaError_t warp_volume(const WarpJob& job, const float* source, float* out, cudaStream_t stream) { return warp_on_device(job, source, out, stream); }
cudaError_t warp_volume(const WarpJob& job, const std::int32_t* source, std::int32_t* out, cudaStream_t stream) {
  return warp_on_device(job, source, out, stream);
}
cudaError_t warp_volume(const WarpJob& job, const std::uint8_t* source, std::uint8_t* out, cudaStream_t stream) {
  return warp_on_device(job, source, out, stream);
}

cudaError_t weigh_taps(const TapsJob& job, const float* source, float* out, cudaStream_t stream) {
  const std::int64_t n = job.before * job.cells * job.after;
  return n == 0 ? cudaSuccess : launch(taps_kernel, blocks_for(n), kWarpThreads, stream, job, source, out);
}

}  // namespace sslmed::ops::cuda
