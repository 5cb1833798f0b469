#pragma once
// Launchers on raw pointers, without torch headers, so that nvcc compiles them also where torch has no CUDA.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/scalar.h"

namespace sslmed::ops::cuda {

// logits [views, rows, n] of `type`; what is computed in, and all that is written, is double where `type` is, and float otherwise: targets
// [others, rows, n], pairs [views, others], losses, lse and mass [views, rows].
struct CrossEntropyJob {
  const void *logits, *targets, *pairs;
  std::int64_t views, others, rows, n;
  double scale;  // 1 / temperature
};

cudaError_t soft_cross_entropy_rows(Scalar type, const CrossEntropyJob& job, void* losses, void* lse, void* mass, cudaStream_t stream);
// grad, lse, mass [views, rows]; into [views, rows, n] of `type`.
cudaError_t soft_cross_entropy_rows_backward(Scalar type, const CrossEntropyJob& job, const void* grad, const void* lse, const void* mass, void* into,
                                             cudaStream_t stream);

}  // namespace sslmed::ops::cuda
