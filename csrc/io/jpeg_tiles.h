#pragma once
// Regions of a JPEG-tiled TIFF image without OpenSlide: only the tiles that a region needs, and of them only the rows and columns.

#include <cstdint>
#include <memory>

#include "io/tiff.h"
#include "io/tile_cache.h"

namespace sslmed::io {

class JpegTiles {
 public:
  // Whether a directory's tiles are of the kind that is read here: 8-bit RGB or YCbCr JPEG with interleaved components.
  static bool readable(const TiffDirectory& directory);

  // `file` and `directory` must live as long; `slide` and `number` name the tiles in the cache, which may be missing.
  JpegTiles(const TiffFile& file, std::size_t number, std::uint64_t slide, std::shared_ptr<TileCache> cache);

  const TiffDirectory& directory() const noexcept { return *directory_; }
  // RGB [height, width, 3] from (x, y) of this image; white outside. False, and nothing read, where a tile is not stored.
  bool read(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height, std::uint8_t* into) const;

 private:
  const TiffFile* file_;
  const TiffDirectory* directory_;
  std::uint64_t slide_, number_;
  std::shared_ptr<TileCache> cache_;
};

}  // namespace sslmed::io
