#pragma once
// Bytes as a file with a path, without a disk: the parsers under test open paths and pread from them.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace sslmed::fuzz {

class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
  }
  void set(const std::uint8_t* data, std::size_t size) {
    if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  }
  void shrink(std::size_t size) {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) std::abort();
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// What holds for every input; a plain assert() would vanish with NDEBUG.
inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace sslmed::fuzz
