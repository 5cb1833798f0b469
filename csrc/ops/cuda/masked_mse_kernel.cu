// One block a row: a patch has 200 to 4,096 values, which fills a block, and rows are what a batch has many of.
// Memory-bound: target is read twice (statistics, then loss), the second time from cache.

#include "ops/cuda/block.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/masked_mse_kernel.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kThreads = 128;
constexpr double kEps = 1e-6;

// Null: all rows count alike.
__device__ inline float weight_of(const float* weights, std::int64_t row) { return weights == nullptr ? 1.0f : weights[row]; }

template <class T, class Acc>
__device__ void statistics(const T* x, std::int64_t n, bool norm, Acc& mean, Acc& inverse_std) {
  mean = 0;
  inverse_std = 1;
  if (!norm) return;
  Acc sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) sum += static_cast<Acc>(x[i]);
  mean = block_sum<kThreads>(sum) / static_cast<Acc>(n);
  Acc squares = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const Acc d = static_cast<Acc>(x[i]) - mean;
    squares += d * d;
  }
  inverse_std = Acc(1) / sqrt(block_sum<kThreads>(squares) / static_cast<Acc>(n - 1) + static_cast<Acc>(kEps));
}

template <class T>
__global__ void forward_kernel(const T* pred, const T* target, const float* weights, double* row_sums, std::int64_t n, bool norm) {
  using Acc = typename Accumulate<T>::type;
  const std::int64_t row = blockIdx.x;
  if (weight_of(weights, row) == 0) {  // the same for the whole block
    if (threadIdx.x == 0) row_sums[row] = 0;
    return;
  }
  const T *p = pred + row * n, *t = target + row * n;
  Acc mean, inverse_std;
  statistics(t, n, norm, mean, inverse_std);
  Acc sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const Acc d = static_cast<Acc>(p[i]) - (static_cast<Acc>(t[i]) - mean) * inverse_std;
    sum += d * d;
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) row_sums[row] = static_cast<double>(sum) / static_cast<double>(n) * static_cast<double>(weight_of(weights, row));
}

template <class T>
__global__ void backward_kernel(const T* pred, const T* target, const float* weights, const double* scale, T* grad_pred, T* grad_target, std::int64_t n,
                                bool norm) {
  using Acc = typename Accumulate<T>::type;
  const std::int64_t row = blockIdx.x;
  const T *p = pred + row * n, *t = target + row * n;
  T *gp = grad_pred + row * n, *gt = grad_target == nullptr ? nullptr : grad_target + row * n;
  const Acc factor = static_cast<Acc>(*scale * 2 / static_cast<double>(n) * static_cast<double>(weight_of(weights, row)));
  if (weight_of(weights, row) == 0) {
    for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
      gp[i] = static_cast<T>(0.0f);
      if (gt != nullptr) gt[i] = static_cast<T>(0.0f);
    }
    return;
  }
  Acc mean, inverse_std;
  statistics(t, n, norm, mean, inverse_std);
  Acc sum_g = 0, sum_gy = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const Acc y = (static_cast<Acc>(t[i]) - mean) * inverse_std;
    const Acc g = factor * (static_cast<Acc>(p[i]) - y);
    gp[i] = static_cast<T>(g);
    sum_g -= g;
    sum_gy -= g * y;
  }
  if (gt == nullptr) return;  // the same for the whole block
  sum_g = block_sum<kThreads>(sum_g);
  sum_gy = block_sum<kThreads>(sum_gy);
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const Acc y = (static_cast<Acc>(t[i]) - mean) * inverse_std;
    const Acc g = -factor * (static_cast<Acc>(p[i]) - y);
    gt[i] = static_cast<T>(norm ? inverse_std * (g - sum_g / static_cast<Acc>(n) - y * sum_gy / static_cast<Acc>(n - 1)) : g);
  }
}

}  // namespace

cudaError_t masked_mse_rows(Scalar type, const void* pred, const void* target, const float* weights, double* row_sums, std::int64_t rows, std::int64_t n,
                            bool norm, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return dispatch(type, [&](auto tag) {
    using T = decltype(tag);
    return launch(&forward_kernel<T>, dim3{static_cast<unsigned>(rows), 1, 1}, kThreads, stream, static_cast<const T*>(pred), static_cast<const T*>(target),
                  weights, row_sums, n, norm);
  });
}

cudaError_t masked_mse_rows_backward(Scalar type, const void* pred, const void* target, const float* weights, const double* scale, void* grad_pred,
                                     void* grad_target, std::int64_t rows, std::int64_t n, bool norm, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return dispatch(type, [&](auto tag) {
    using T = decltype(tag);
    return launch(&backward_kernel<T>, dim3{static_cast<unsigned>(rows), 1, 1}, kThreads, stream, static_cast<const T*>(pred), static_cast<const T*>(target),
                  weights, scale, static_cast<T*>(grad_pred), static_cast<T*>(grad_target), n, norm);
  });
}

}  // namespace sslmed::ops::cuda
