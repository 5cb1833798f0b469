// Any bytes: refused with one of our two errors, or read, within the memory that room() says, the same twice.

#include <memory>
#include <vector>

#include "core/error.h"
#include "io/npz.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  static fuzz::MemoryFile memory;
  memory.set(data, size);
  try {
    const io::NpzFile file(memory.path());
    std::uint64_t packed = 0;
    for (const auto& array : file.arrays()) {
      fuzz::require(array.member.begin + array.member.packed <= size);
      packed += array.member.packed;
      fuzz::require(packed <= size);  // members do not overlap
      fuzz::require(array.member.size <= 1032 * array.member.packed);
      fuzz::require(array.header.begin + array.header.bytes == array.member.size);
      std::uint64_t count = array.header.width;
      for (const auto side : array.header.shape) count *= static_cast<std::uint64_t>(side);
      fuzz::require(count == array.header.bytes);
      const std::size_t room = io::NpzFile::room(array);
      // Of exactly that size, so that a byte too many is seen.
      const std::unique_ptr<std::uint8_t[]> first(new std::uint8_t[room]), second(new std::uint8_t[room]);
      const auto begin = file.read(array, first.get());
      fuzz::require(begin % 64 == 0 && begin + array.header.bytes == room);
      fuzz::require(file.read(array, second.get()) == begin);
      fuzz::require(std::equal(first.get() + begin, first.get() + room, second.get() + begin));
    }
    memory.shrink(size / 2);
    for (const auto& array : file.arrays()) {
      std::vector<std::uint8_t> room(io::NpzFile::room(array));
      file.read(array, room.data());
    }
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
