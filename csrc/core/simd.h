#pragma once
// Hot loops are compiled for several instruction sets and chosen when the library is loaded, so that one wheel runs
// everywhere and still uses AVX2 with fused multiply-add, or AVX-512, where they are. Not under sanitizers: their run time
// is not up when ifuncs resolve.

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if __GNUC__ >= 12
#define SSLMED_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SSLMED_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define SSLMED_CLONES
#endif

// For what a clone calls: it must be compiled with the clone's instructions, so inside it.
#define SSLMED_INLINE inline __attribute__((always_inline))

// Before a loop whose results may lie where its input lies, place by place, and not otherwise overlap: without it GCC
// checks for overlaps, and takes one place after the other where there are any.
#if defined(__GNUC__) && !defined(__clang__)
#define SSLMED_SAME_PLACES _Pragma("GCC ivdep")
#else
#define SSLMED_SAME_PLACES
#endif

namespace sslmed {

// Whether this is an AMD processor with AVX-512, for which some of PyTorch's libraries choose worse than for others.
inline bool is_amd_with_avx512() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f");
#else
  return false;
#endif
}

// Signals side by side, one a lane: a recursion in time is serial, so the channels are what fills a vector register.
// Four doubles are a register of AVX2; GCC keeps wider vectors in memory where the registers are narrower.
inline constexpr int kLanes = 4;
// Aligned by name: a vector wider than the default target's registers would otherwise have another alignment in each clone.
typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double)), aligned(kLanes * sizeof(double))));

}  // namespace sslmed
