#pragma once
// Hot loops are compiled for several instruction sets and chosen when the library is loaded, so that one wheel runs
// everywhere and still uses AVX-512 where there is one. Not under sanitizers: their run time is not up when ifuncs resolve.

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SSLMED_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SSLMED_CLONES
#endif
