#pragma once
// What kernels with one block a row share: the type they add in, sums and maxima over a block, and the choice of a type.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "ops/cuda/scalar.h"

namespace sslmed::ops::cuda {

template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

struct Sum {
  template <class Acc>
  __device__ Acc operator()(Acc a, Acc b) const {
    return a + b;
  }
};
struct Largest {
  template <class Acc>
  __device__ Acc operator()(Acc a, Acc b) const {
    return b > a ? b : a;
  }
};

// `value` of all threads combined, for every thread, in a fixed order.
template <int kThreads, class Combine, class Acc>
__device__ Acc block_reduce(Acc value, Combine combine) {
  constexpr int kWarps = kThreads / 32;
  __shared__ Acc partial[kWarps];
  for (int offset = 16; offset > 0; offset /= 2) value = combine(value, __shfl_down_sync(0xffffffffu, value, offset));
  __syncthreads();  // `partial` may still be read from the previous call
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  Acc total = partial[0];
  for (int w = 1; w < kWarps; ++w) total = combine(total, partial[w]);
  return total;
}

template <int kThreads, class Acc>
__device__ Acc block_sum(Acc value) {
  return block_reduce<kThreads>(value, Sum{});
}

template <int kThreads, class Acc>
__device__ Acc block_max(Acc value) {
  return block_reduce<kThreads>(value, Largest{});
}

template <class F>
cudaError_t dispatch(Scalar type, F&& launch_as) {
  switch (type) {
    case Scalar::kFloat:
      return launch_as(float{});
    case Scalar::kDouble:
      return launch_as(double{});
    case Scalar::kHalf:
      return launch_as(__half{});
    case Scalar::kBFloat16:
      return launch_as(__nv_bfloat16{});
  }
  return cudaSuccess;
}

}  // namespace sslmed::ops::cuda
