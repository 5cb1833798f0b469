#pragma once
// A range divided among a few threads that live for one call. Results must not depend on how it is divided.

#include <algorithm>
#include <cstdint>
#include <functional>

#include "core/thread_pool.h"

namespace sslmed {

// f(first, last) over parts of [0, n), each at least `grain` long; in the caller's thread where one part is enough. `f`
// must not throw.
template <class F>
void divide(std::int64_t n, std::int64_t grain, unsigned threads, F&& f) {
  const auto parts = std::clamp<std::int64_t>(n / std::max<std::int64_t>(grain, 1), 1, std::max(threads, 1u));
  if (parts == 1) return f(std::int64_t{0}, n);
  ThreadPool pool;
  pool.start(static_cast<unsigned>(parts - 1), [&](unsigned i) { f(n * (i + 1) / parts, n * (i + 2) / parts); }, [] {});
  f(std::int64_t{0}, n / parts);
  pool.join();
}

}  // namespace sslmed
