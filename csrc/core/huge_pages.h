#pragma once
// Fresh memory costs a fault for each of its pages, which for a volume takes as long as filling it. Where the system gives huge
// pages on request, large blocks ask for them.

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>

namespace sslmed {

inline void ask_for_huge_pages(void* begin, std::size_t size) noexcept {
#ifdef __linux__
  if (size < std::size_t{4} << 20) return;
  const auto first = (reinterpret_cast<std::uintptr_t>(begin) + 4095) / 4096 * 4096;
  const auto end = (reinterpret_cast<std::uintptr_t>(begin) + size) / 4096 * 4096;
  (void)::madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);  // an advice: nothing changes without it
#else
  (void)begin, (void)size;
#endif
}

}  // namespace sslmed
