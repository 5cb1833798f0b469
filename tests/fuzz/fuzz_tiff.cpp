// Any bytes: refused with one of our two errors, or a TIFF whose JPEG tiles are read, or refused, without a fault.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/jpeg_tiles.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  static fuzz::MemoryFile memory;
  memory.set(data, size);
  try {
    const auto tiff = io::TiffFile::open(memory.path());
    if (!tiff) return 0;
    const auto cache = std::make_shared<io::TileCache>(1 << 16);
    for (std::size_t i = 0; i < std::min<std::size_t>(tiff->directories().size(), 4); ++i) {
      const auto& directory = tiff->directories()[i];
      fuzz::require(directory.width > 0 && directory.height > 0);
      if (!io::JpegTiles::readable(directory) || directory.tile_width * directory.tile_height > 1 << 16) continue;
      const io::JpegTiles tiles(*tiff, i, 1, cache);
      std::vector<std::uint8_t> region(3 * 40 * 30);
      for (int again = 0; again < 3; ++again) {
        for (const auto& [x, y] : {std::pair<std::int64_t, std::int64_t>{-5, -5}, {3, 7}, {directory.width - 20, directory.height - 10}}) {
          try {
            tiles.read(x, y, 40, 30, region.data());
          } catch (const FormatError&) {
          }
        }
        if (again == 1) memory.shrink(size / 2);
      }
    }
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
