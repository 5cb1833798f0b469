#pragma once
// Kernels are launched by a function, not by <<<>>>: then the files that do so are plain C++, which tests run on threads of the CPU (tests/cpp/cuda).

#include <cuda_runtime_api.h>

namespace sslmed::ops::cuda {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3{static_cast<unsigned>(threads), 1, 1};
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace sslmed::ops::cuda
