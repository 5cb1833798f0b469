#include "io/jpeg_tiles.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/jpeg.h"

namespace sslmed::io {
namespace {

enum Compression { kJpeg = 7 };
enum Photometric { kRgb = 2, kYcc = 6 };

}  // namespace

bool JpegTiles::readable(const TiffDirectory& d) {
  return have_jpeg() && d.tiled() && d.compression == kJpeg && (d.photometric == kRgb || d.photometric == kYcc) && d.samples == 3 && d.bits == 8 &&
         d.planar == 1 && d.orientation == 1;
}

JpegTiles::JpegTiles(const TiffFile& file, std::size_t number, std::uint64_t slide, std::shared_ptr<TileCache> cache)
    : file_(&file), directory_(&file.directories().at(number)), slide_(slide), number_(number), cache_(std::move(cache)) {}

bool JpegTiles::read(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height, std::uint8_t* into) const {
  const auto& d = *directory_;
  const std::int64_t tw = d.tile_width, th = d.tile_height;
  // The part of the region that is on the image; rows and columns of tiles beyond its edge are padding.
  const std::int64_t left = std::max<std::int64_t>(x, 0), top = std::max<std::int64_t>(y, 0);
  const std::int64_t right = std::min(x + width, d.width), bottom = std::min(y + height, d.height);
  const auto stride = static_cast<std::size_t>(3 * width);
  if (right - left < width || bottom - top < height) std::memset(into, 255, stride * static_cast<std::size_t>(height));
  if (right <= left || bottom <= top) return true;
  for (std::int64_t row = top / th; row <= (bottom - 1) / th; ++row)
    for (std::int64_t column = left / tw; column <= (right - 1) / tw; ++column)
      if (d.sizes[static_cast<std::size_t>(row * d.columns() + column)] == 0) return false;
  thread_local std::vector<std::uint8_t> bytes;
  const ImageSize expected{tw, th, 3};
  const auto whole = static_cast<std::size_t>(3 * tw * th);
  for (std::int64_t row = top / th; row <= (bottom - 1) / th; ++row) {
    for (std::int64_t column = left / tw; column <= (right - 1) / tw; ++column) {
      const auto tile = static_cast<std::size_t>(row * d.columns() + column);
      const std::int64_t x0 = std::max(left, column * tw), y0 = std::max(top, row * th);
      const std::int64_t columns = std::min(right, (column + 1) * tw) - x0, rows = std::min(bottom, (row + 1) * th) - y0;
      const Rectangle part{x0 - column * tw, y0 - row * th, columns, rows};
      std::uint8_t* out = into + static_cast<std::size_t>(y0 - y) * stride + static_cast<std::size_t>(3 * (x0 - x));
      const TileCache::Key key{slide_, number_, tile};
      bool keep = false;
      auto held = cache_ ? cache_->get(key, whole, keep) : nullptr;
      if (!held) {
        bytes.resize(d.sizes[tile]);
        file_->file().read(bytes.data(), bytes.size(), d.offsets[tile]);
        const JpegBytes jpeg{bytes.data(), bytes.size(), &d.jpeg_tables, d.photometric == kYcc ? JpegColour::kYcc : JpegColour::kRgb};
        if (!keep) {
          jpeg_decode(file_->file().path(), jpeg, part, out, stride, expected);
          continue;
        }
        auto decoded = std::make_shared<std::vector<std::uint8_t>>(whole);
        jpeg_decode(file_->file().path(), jpeg, {0, 0, tw, th}, decoded->data(), static_cast<std::size_t>(3 * tw), expected);
        held = std::move(decoded);
        cache_->put(key, held);
      }
      for (std::int64_t i = 0; i < rows; ++i)
        std::memcpy(out + static_cast<std::size_t>(i) * stride, held->data() + 3 * ((part.y + i) * tw + part.x), static_cast<std::size_t>(3 * columns));
    }
  }
  return true;
}

}  // namespace sslmed::io
