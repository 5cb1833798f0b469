#pragma once
// The directories of a TIFF file, classic or big, of either byte order, checked before anybody decodes what they point at: OpenSlide
// aborts the process on a tile of 2^30 columns, and nothing above can catch that. Pixels are not read here.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"

namespace sslmed::io {

struct TiffDirectory {
  std::int64_t width = 0, height = 0;
  std::int64_t tile_width = 0, tile_height = 0;  // 0 where the image is in strips
  std::int64_t compression = 1, photometric = -1, samples = 1, bits = 1, planar = 1, orientation = 1;
  std::vector<std::uint64_t> offsets, sizes;  // of tiles, row after row; a size of 0: not stored
  std::vector<std::uint8_t> jpeg_tables;

  bool tiled() const noexcept { return tile_width > 0; }
  std::int64_t columns() const noexcept { return (width + tile_width - 1) / tile_width; }
  std::int64_t rows() const noexcept { return (height + tile_height - 1) / tile_height; }
};

class TiffFile {
 public:
  // Nothing where the file is no TIFF, or Hamamatsu's kind of it, whose offsets are kept in two halves: those are OpenSlide's alone.
  // FormatError where its directories cannot be: sizes, counts, offsets, a chain that bites its tail.
  static std::optional<TiffFile> open(const std::string& path);

  const File& file() const noexcept { return file_; }
  const std::vector<TiffDirectory>& directories() const noexcept { return directories_; }
  bool big_endian() const noexcept { return big_endian_; }
  bool big() const noexcept { return big_; }

 private:
  explicit TiffFile(File file) : file_(std::move(file)) {}
  bool read_directories();                                        // false: an NDPI file
  std::optional<std::uint64_t> read_directory(std::uint64_t at);  // where the next one is, or 0; nothing: an NDPI file
  void check(TiffDirectory& directory, std::size_t number) const;
  std::uint64_t number(const std::uint8_t* at, int bytes) const;
  std::int64_t single(const std::uint8_t* entry, std::int64_t limit) const;
  std::vector<std::uint64_t> numbers(const std::uint8_t* entry, std::uint64_t limit) const;
  std::vector<std::uint8_t> bytes(const std::uint8_t* entry, std::uint64_t limit) const;

  File file_;
  bool big_endian_ = false, big_ = false;
  std::vector<TiffDirectory> directories_;
};

}  // namespace sslmed::io
