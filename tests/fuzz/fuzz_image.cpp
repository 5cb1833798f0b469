// Any bytes: refused with one of our two errors, or an image with as many bytes as its size says.

#include <zlib.h>

#include <vector>

#include "core/error.h"
#include "io/image.h"
#include "io/jpeg.h"
#include "memory_file.h"

namespace {

// Large images are sound inputs and slow ones: their sizes stand in the first bytes.
bool small(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  if (size > 24 && data[0] == 0x89) return data[16] == 0 && data[17] == 0 && data[18] < 2 && data[20] == 0 && data[21] == 0 && data[22] < 2;
  if (data[0] != 0xFF) return true;  // TIFF and BMP claim no more than their bytes can hold
  const auto shape = io::jpeg_size("fuzz", {data, size});
  return shape.width * shape.height < 1 << 18;
}

// Checksums that are right, or no mutation would ever come further than them.
std::vector<std::uint8_t> mended(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  for (std::size_t at = 8; at + 12 <= size;) {
    const std::size_t length = static_cast<std::size_t>(bytes[at]) << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
    if (length > size - at - 12) break;
    const auto sum = ::crc32(0, bytes.data() + at + 4, static_cast<unsigned>(length + 4));
    for (int i = 0; i < 4; ++i) bytes[at + 8 + length + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  static fuzz::MemoryFile memory;
  const auto bytes = size > 0 && data[0] == 0x89 ? mended(data, size) : std::vector<std::uint8_t>(data, data + size);
  memory.set(bytes.data(), size);
  try {
    if (size > 2 && !small(data, size)) return 0;
    std::vector<std::string> salvaged;
    for (const io::ImageOptions options : {io::ImageOptions{}, {.deep = true}, {.side = 40}, {.side = 40, .longer = true}}) {
      const auto image = io::read_image(memory.path(), options, salvaged);
      fuzz::require(image.width > 0 && image.height > 0 && image.channels >= 1 && image.channels <= 4);
      fuzz::require(image.bytes.size() == static_cast<std::size_t>(image.width * image.height * image.channels * (image.depth / 8)));
    }
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
