#pragma once
// Launcher on raw pointers, without torch headers, so that nvcc compiles it also where torch has no CUDA.

#include <cuda_runtime_api.h>

#include "ops/cuda/augment_jobs.h"

namespace sslmed::ops::cuda {

// jobs [n] and all areas lie on the device.
cudaError_t augment(const AugmentJob* jobs, std::int64_t n, const AugmentMemory& memory, cudaStream_t stream);

}  // namespace sslmed::ops::cuda
