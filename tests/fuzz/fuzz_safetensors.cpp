// Any bytes: refused with one of our two errors, or read; what was read survives being written and read again.

#include <vector>

#include "core/error.h"
#include "io/safetensors.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  static fuzz::MemoryFile memory;
  static const std::string copy = "/dev/shm/sslmed-fuzz-" + std::to_string(::getpid());
  memory.set(data, size);
  try {
    const io::SafetensorsFile file(memory.path());
    std::vector<std::vector<char>> values;
    std::vector<io::TensorBytes> tensors;
    std::uint64_t total = 0;
    for (const auto& entry : file.entries()) {
      fuzz::require(entry.size <= size && entry.begin + entry.size <= size);
      total += entry.size;
      fuzz::require(total <= size);  // extents do not overlap
      values.emplace_back(entry.size);
      file.read(entry, values.back().data());
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto& entry = file.entries()[i];
      tensors.push_back({entry.name, entry.code, entry.shape, values[i].data()});
    }
    // Writing flushes to disk: only now and then.
    if (size % 16 == 0) {
      io::write_safetensors(copy, tensors, file.metadata());
      const io::SafetensorsFile again(copy);
      ::unlink(copy.c_str());
      fuzz::require(again.entries().size() == tensors.size() && again.metadata() == file.metadata());
    }
    memory.shrink(size / 2);
    for (std::size_t i = 0; i < values.size(); ++i) file.read(file.entries()[i], values[i].data());
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
