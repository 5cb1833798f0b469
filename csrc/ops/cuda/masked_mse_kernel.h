#pragma once
// Launchers on raw pointers, without torch headers, so that nvcc compiles them also where torch has no CUDA.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/scalar.h"

namespace sslmed::ops::cuda {

// pred, target [rows, n]; weights [rows] float, or null where all are one. row_sums [rows] double receives weight * patch MSE.
cudaError_t masked_mse_rows(Scalar type, const void* pred, const void* target, const float* weights, double* row_sums, std::int64_t rows, std::int64_t n,
                            bool norm, cudaStream_t stream);
// *scale (double, on the device) is grad / sum(weights). grad_pred and, where it is not null, grad_target [rows, n] are written everywhere.
cudaError_t masked_mse_rows_backward(Scalar type, const void* pred, const void* target, const float* weights, const double* scale, void* grad_pred,
                                     void* grad_target, std::int64_t rows, std::int64_t n, bool norm, cudaStream_t stream);

}  // namespace sslmed::ops::cuda
