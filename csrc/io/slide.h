#pragma once
// A slide: a pyramid of RGB levels with a scale. OpenSlide reads every format that it knows; JPEG tiles of plain TIFF pyramids are read
// directly, with the same bytes.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/jpeg_tiles.h"
#include "io/openslide.h"
#include "io/tiff.h"
#include "io/tile_cache.h"

namespace sslmed::io {

struct SlideOptions {
  std::optional<std::array<double, 2>> mpp;  // µm per pixel of level 0, in place of what the file says
  bool fast = true;                          // false: OpenSlide alone
  std::shared_ptr<TileCache> cache;          // of the fast path; nothing: none
};

// What is worth keeping of a slide that is closed: opened with it again, a plain TIFF is read without waiting for OpenSlide, and its tiles in the cache
// are known again.
struct SlideLayout {
  FileStamp stamp;
  std::uint64_t id = 0;
  std::vector<OpenSlideFile::Level> levels;  // none of what only OpenSlide reads
};

// Any number of threads may read one slide at a time.
class Slide {
 public:
  // FormatError where the file is damaged or no slide, ReadError where it cannot be read. `known` is for a slide whose scale is in `options`; where the
  // file has changed since, it does not count.
  explicit Slide(const std::string& path, const SlideOptions& options = {}, const SlideLayout& known = {});

  SlideLayout layout() const;

  struct Level {
    std::int64_t width = 0, height = 0;
    double downsample = 1;            // as OpenSlide has it: the mean over both sides
    std::optional<JpegTiles> direct;  // where the fast path reads it
  };

  const std::string& path() const noexcept { return path_; }
  const std::vector<Level>& levels() const noexcept { return levels_; }
  // µm per pixel of level 0 in x and y; nothing where neither the file nor the caller knows a credible one.
  const std::optional<std::array<double, 2>>& mpp() const noexcept { return mpp_; }
  // None of a slide that was opened with its layout.
  const std::map<std::string, std::string>& properties() const noexcept { return file_.properties(); }
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  // RGB [height, width, 3] at a level; (x, y) is the corner in level 0. White where nothing was scanned and beyond the edges.
  void read(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const;
  // The same with the corner in the level's own pixels: for levels that are read directly no resampling takes place.
  void read_level(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const;

 private:
  bool read_directly(const Level& level, std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height, std::uint8_t* into) const;
  void find_mpp(const SlideOptions& options);
  bool is_known(const SlideOptions& options, const SlideLayout& known) const;

  std::string path_;
  std::optional<TiffFile> tiff_;  // checked before OpenSlide sees the file
  std::uint64_t id_;              // of its tiles in the cache
  OpenSlideFile file_;
  std::vector<Level> levels_;
  std::optional<std::array<double, 2>> mpp_;
  std::vector<std::string> warnings_;
};

}  // namespace sslmed::io
