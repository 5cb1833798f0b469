#pragma once
// Memory of batches, used again once nobody holds the tensor: a batch is megabytes, and pages fresh from the system cost
// more than what is copied into them.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace sslmed::data {

class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  // Keeps at most `keep` unused buffers.
  static std::shared_ptr<BufferPool> make(std::size_t keep) { return std::shared_ptr<BufferPool>(new BufferPool(keep)); }
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // An uninitialised tensor of this shape on the CPU. It may outlive whoever asked for it, and the loader.
  at::Tensor empty(at::IntArrayRef shape, at::ScalarType type = at::kFloat);

 private:
  explicit BufferPool(std::size_t keep) : keep_(keep) {}
  void give_back(void* buffer, std::size_t size);

  std::size_t keep_;
  std::mutex mutex_;
  std::multimap<std::size_t, void*> unused_;
};

}  // namespace sslmed::data
