// Stages of single elements: a grid over pictures, and over parts of each. Colours: one block a picture, because they need sums over it; a batch has as many
// pictures as a GPU has room for blocks, and a picture stays in its cache.
// Compiled without contraction to fused multiply-adds, so that weights and sums are those of the CPU to the bit.

#include "ops/cuda/augment_colours.h"
#include "ops/cuda/augment_kernel.h"
#include "ops/cuda/augment_stages.h"
#include "ops/cuda/launch.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kParts = 16;  // of a picture
constexpr int kColourThreads = 512;
constexpr int kColourWarps = kColourThreads / 32;

template <class Stage>
__global__ void stage_kernel(const AugmentJob* jobs, AugmentMemory memory) {
  const AugmentJob& job = jobs[blockIdx.x];
  const std::int64_t n = Stage::count(job), step = static_cast<std::int64_t>(kParts) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x; i < n; i += step) Stage::at(memory, job, i);
}

struct BlockShared {
  double partial[kColourWarps];
  unsigned counts[256];
  unsigned bin;
  std::int64_t left;
};

class DeviceBlock {
 public:
  __device__ explicit DeviceBlock(BlockShared& shared) : shared_(shared) {}

  template <class F>
  __device__ void each(std::int64_t n, F f) {
    for (std::int64_t i = threadIdx.x; i < n; i += kColourThreads) f(i);
    __syncthreads();
  }

  template <class F>
  __device__ void once(F f) {
    if (threadIdx.x == 0) f();
    __syncthreads();
  }

  template <int kMany, class F>
  __device__ void sums(std::int64_t n, double (&totals)[kMany], F f) {
    double own[kMany] = {};
    for (std::int64_t i = threadIdx.x; i < n; i += kColourThreads) f(i, own);
    for (int k = 0; k < kMany; ++k) {
      double value = own[k];
      for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
      if (threadIdx.x % 32 == 0) shared_.partial[threadIdx.x / 32] = value;
      __syncthreads();
      if (threadIdx.x == 0) {
        totals[k] = 0;
        for (int warp = 0; warp < kColourWarps; ++warp) totals[k] += shared_.partial[warp];
      }
      __syncthreads();
    }
  }

  // Digit by digit, from the highest: how many keys that begin like it go on with each.
  __device__ float nth(const float* keys, std::int64_t n, std::int64_t k) {
    unsigned prefix = 0, known = 0;
    std::int64_t left = k;
    for (int shift = 24; shift >= 0; shift -= 8) {
      for (int bin = static_cast<int>(threadIdx.x); bin < 256; bin += kColourThreads) shared_.counts[bin] = 0;
      __syncthreads();
      for (std::int64_t i = threadIdx.x; i < n; i += kColourThreads) {
        const unsigned key = ordered(keys[i]);
        if ((key & known) == prefix) atomicAdd(&shared_.counts[key >> shift & 255u], 1u);
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        unsigned bin = 0;
        while (bin < 255 && left >= shared_.counts[bin]) left -= shared_.counts[bin++];
        shared_.bin = bin;
        shared_.left = left;
      }
      __syncthreads();
      left = shared_.left;
      prefix |= shared_.bin << shift;
      known |= 255u << shift;
      __syncthreads();
    }
    return __uint_as_float((prefix & 0x80000000u) != 0 ? prefix ^ 0x80000000u : ~prefix);
  }

 private:
  // Numbers whose order is that of the floats.
  static __device__ unsigned ordered(float value) {
    const unsigned bits = __float_as_uint(value);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  }

  BlockShared& shared_;
};

__global__ void colour_kernel(const AugmentJob* jobs, AugmentMemory memory) {
  __shared__ ColourShared shared;
  __shared__ BlockShared own;
  DeviceBlock block(own);
  colours(block, shared, memory, jobs[blockIdx.x]);
}

}  // namespace

cudaError_t augment(const AugmentJob* jobs, std::int64_t n, const AugmentMemory& memory, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const dim3 all{static_cast<unsigned>(n), kParts, 1}, each{static_cast<unsigned>(n), 1, 1};
  cudaError_t error = cudaSuccess;
  const auto run = [&](auto kernel, dim3 grid, int threads) {
    if (error == cudaSuccess) error = launch(kernel, grid, threads, stream, jobs, memory);
  };
  run(&stage_kernel<TapsStage>, all, kThreads);
  run(&stage_kernel<AcrossStage>, all, kThreads);
  run(&stage_kernel<DownStage>, all, kThreads);
  run(&colour_kernel, each, kColourThreads);
  run(&stage_kernel<BlurStage>, all, kThreads);
  run(&stage_kernel<SquaresStage>, all, kThreads);
  return error;
}

}  // namespace sslmed::ops::cuda
