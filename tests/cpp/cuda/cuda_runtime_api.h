#pragma once
// Enough of CUDA for g++ to compile our kernels and for threads of the CPU to run them, a block at a time: what a barrier forgets and what two threads
// write at once shows on machines without a GPU, under TSan too. Kernels are launched with cudaLaunchKernelEx, which is plain C++.

#include <atomic>
#include <barrier>
#include <bit>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static  // one block runs at a time

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0 };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline thread_local dim3 threadIdx, blockIdx;

namespace cuda_on_cpu {

constexpr unsigned kWarp = 32;

struct Warp {
  std::barrier<> meet{kWarp};
  double slots[kWarp] = {};  // holds every type that is exchanged
};

struct Block {
  explicit Block(unsigned threads) : meet(threads), warps(threads / kWarp) {}
  std::barrier<> meet;
  std::vector<Warp> warps;
};

inline thread_local Block* block = nullptr;

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::block->meet.arrive_and_wait(); }

template <class T>
T __shfl_down_sync(unsigned, T value, int offset) {
  const unsigned lane = threadIdx.x % cuda_on_cpu::kWarp, other = lane + static_cast<unsigned>(offset);
  auto& warp = cuda_on_cpu::block->warps[threadIdx.x / cuda_on_cpu::kWarp];
  warp.slots[lane] = static_cast<double>(value);
  warp.meet.arrive_and_wait();
  const T out = other < cuda_on_cpu::kWarp ? static_cast<T>(warp.slots[other]) : value;
  warp.meet.arrive_and_wait();
  return out;
}

inline unsigned atomicAdd(unsigned* at, unsigned value) { return std::atomic_ref<unsigned>(*at).fetch_add(value, std::memory_order_relaxed); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return std::bit_cast<float>(value); }

inline cudaError_t cudaGetLastError() { return cudaSuccess; }

template <class... Expected, class... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Given&&... given) {
  for (unsigned y = 0; y < config->gridDim.y; ++y) {
    for (unsigned x = 0; x < config->gridDim.x; ++x) {
      cuda_on_cpu::Block block(config->blockDim.x);
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < config->blockDim.x; ++t)
        threads.emplace_back([&, t] {
          threadIdx = {t, 0, 0};
          blockIdx = {x, y, 0};
          cuda_on_cpu::block = &block;
          kernel(given...);
          block.meet.arrive_and_drop();  // threads that are done no longer wait for the others
        });
      for (auto& thread : threads) thread.join();
    }
  }
  return cudaSuccess;
}
