// One block a row of logits: tens of thousands of prototypes fill it. Memory-bound: logits are read once in each pass, and each thread keeps the largest
// logit that it has seen and the sum relative to it.

#include <cmath>

#include "ops/cuda/block.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/soft_cross_entropy_kernel.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kCrossEntropyThreads = 256;

template <class T>
__global__ void cross_entropy_kernel(CrossEntropyJob job, typename Accumulate<T>::type* losses, typename Accumulate<T>::type* lse,
                                     typename Accumulate<T>::type* mass) {
  using Acc = typename Accumulate<T>::type;
  const std::int64_t r = blockIdx.x, v = blockIdx.y, row = v * job.rows + r;
  const T* x = static_cast<const T*>(job.logits) + row * job.n;
  const Acc *targets = static_cast<const Acc*>(job.targets), *pairs = static_cast<const Acc*>(job.pairs) + v * job.others;
  const Acc scale = static_cast<Acc>(job.scale);
  Acc peak = -static_cast<Acc>(INFINITY), sum = 0;
  double product = 0, weight = 0;
  for (std::int64_t i = threadIdx.x; i < job.n; i += kCrossEntropyThreads) {
    const Acc value = static_cast<Acc>(x[i]) * scale;
    if (value > peak) {
      sum = sum * exp(peak - value) + Acc(1);
      peak = value;
    } else {
      sum += exp(value - peak);
    }
    Acc target = 0;
    for (std::int64_t g = 0; g < job.others; ++g)
      if (pairs[g] != Acc(0)) target += pairs[g] * targets[(g * job.rows + r) * job.n + i];
    product += static_cast<double>(target * value);
    weight += static_cast<double>(target);
  }
  const Acc largest = block_max<kCrossEntropyThreads>(peak);
  const double total = block_sum<kCrossEntropyThreads>(static_cast<double>(sum * exp(peak - largest)));
  product = block_sum<kCrossEntropyThreads>(product);
  weight = block_sum<kCrossEntropyThreads>(weight);
  if (threadIdx.x != 0) return;
  const double whole = static_cast<double>(largest) + log(total);
  lse[row] = static_cast<Acc>(whole);
  mass[row] = static_cast<Acc>(weight);
  losses[row] = static_cast<Acc>(weight * whole - product);
}

template <class T>
__global__ void cross_entropy_backward_kernel(CrossEntropyJob job, const typename Accumulate<T>::type* grad, const typename Accumulate<T>::type* lse,
                                              const typename Accumulate<T>::type* mass, T* into) {
  using Acc = typename Accumulate<T>::type;
  const std::int64_t r = blockIdx.x, v = blockIdx.y, row = v * job.rows + r;
  const T* x = static_cast<const T*>(job.logits) + row * job.n;
  const Acc *targets = static_cast<const Acc*>(job.targets), *pairs = static_cast<const Acc*>(job.pairs) + v * job.others;
  const Acc scale = static_cast<Acc>(job.scale), factor = grad[row] * scale, own = lse[row], weight = mass[row];
  for (std::int64_t i = threadIdx.x; i < job.n; i += kCrossEntropyThreads) {
    Acc target = 0;
    for (std::int64_t g = 0; g < job.others; ++g)
      if (pairs[g] != Acc(0)) target += pairs[g] * targets[(g * job.rows + r) * job.n + i];
    into[row * job.n + i] = static_cast<T>(factor * (weight * exp(static_cast<Acc>(x[i]) * scale - own) - target));
  }
}

dim3 rows_and_views(const CrossEntropyJob& job) { return {static_cast<unsigned>(job.rows), static_cast<unsigned>(job.views), 1}; }

}  // namespace

cudaError_t soft_cross_entropy_rows(Scalar type, const CrossEntropyJob& job, void* losses, void* lse, void* mass, cudaStream_t stream) {
  return dispatch(type, [&](auto tag) {
    using T = decltype(tag);
    using Acc = typename Accumulate<T>::type;
    return launch(&cross_entropy_kernel<T>, rows_and_views(job), kCrossEntropyThreads, stream, job, static_cast<Acc*>(losses), static_cast<Acc*>(lse),
                  static_cast<Acc*>(mass));
  });
}

cudaError_t soft_cross_entropy_rows_backward(Scalar type, const CrossEntropyJob& job, const void* grad, const void* lse, const void* mass, void* into,
                                             cudaStream_t stream) {
  return dispatch(type, [&](auto tag) {
    using T = decltype(tag);
    using Acc = typename Accumulate<T>::type;
    return launch(&cross_entropy_backward_kernel<T>, rows_and_views(job), kCrossEntropyThreads, stream, job, static_cast<const Acc*>(grad),
                  static_cast<const Acc*>(lse), static_cast<const Acc*>(mass), static_cast<T*>(into));
  });
}

}  // namespace sslmed::ops::cuda
