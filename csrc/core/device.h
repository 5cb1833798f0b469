#pragma once
// Formulas that both a CUDA kernel and the CPU use stand once, in headers of C++17, as SSLMED_FORMULA. Compiled by g++ they run in tests, and inside the
// CPU's loops; compiled by nvcc they are device code alone.

#if defined(__CUDACC__)
#define SSLMED_FORMULA __device__ __forceinline__
#else
#define SSLMED_FORMULA inline __attribute__((always_inline))
#endif
