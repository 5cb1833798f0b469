#include "data/buffer_pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstdlib>
#include <new>

namespace sslmed::data {

BufferPool::~BufferPool() {
  for (const auto& [size, buffer] : unused_) std::free(buffer);
}

at::Tensor BufferPool::empty(at::IntArrayRef shape, at::ScalarType type) {
  constexpr std::size_t kAlignment = 64, kPage = 4096;
  std::size_t bytes = c10::elementSize(type);
  for (const auto extent : shape) bytes *= static_cast<std::size_t>(extent);
  if (bytes < kPage) return at::empty(shape, type);
  std::size_t size = (bytes + kPage - 1) / kPage * kPage;
  void* buffer = nullptr;
  {
    const std::lock_guard lock(mutex_);
    // A far larger one is left for a batch that needs it.
    if (const auto found = unused_.lower_bound(size); found != unused_.end() && found->first <= 2 * size) {
      size = found->first;
      buffer = found->second;
      unused_.erase(found);
    }
  }
  if (buffer == nullptr && (buffer = std::aligned_alloc(kAlignment, size)) == nullptr) throw std::bad_alloc();
  return at::from_blob(buffer, shape, [pool = shared_from_this(), size](void* used) { pool->give_back(used, size); }, type);
}

void BufferPool::give_back(void* buffer, std::size_t size) {
  {
    const std::lock_guard lock(mutex_);
    unused_.emplace(size, buffer);
    if (unused_.size() <= keep_) return;
    buffer = unused_.begin()->second;  // the smallest is the cheapest to lose
    unused_.erase(unused_.begin());
  }
  std::free(buffer);
}

}  // namespace sslmed::data
