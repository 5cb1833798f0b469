#pragma once
// OpenSlide 4, loaded when the first slide is opened: the wheel openslide-bin has the library and no headers, so the few functions
// that are used are declared in openslide.cpp.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace sslmed::io {

// Which library to load; the first slide decides. By default the system's libopenslide.so.1.
void use_openslide(const std::string& library);
// Its version. std::runtime_error where there is none, or one before 4.
std::string openslide_version();
// Bytes of decoded tiles that all slides together may hold: of the shared TileCache alone at first, half of them OpenSlide's once a region was read through it.
void set_slide_cache(std::size_t bytes);

// An open slide, for any number of threads.
class OpenSlideFile {
 public:
  // FormatError or ReadError naming the file.
  explicit OpenSlideFile(std::string path);

  struct Level {
    std::int64_t width, height;
    double downsample;
  };
  // One that was open before: OpenSlide opens it, which takes it milliseconds, when something is read through it. It has no properties.
  OpenSlideFile(std::string path, std::vector<Level> known) : path_(std::move(path)), levels_(std::move(known)) {}

  const std::vector<Level>& levels() const noexcept { return levels_; }
  const std::map<std::string, std::string>& properties() const noexcept { return properties_; }

  // RGB [height, width, 3] of a region whose corner is at (x, y) of level 0; what is transparent is white.
  void read(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const;

 private:
  std::shared_ptr<void> handle() const;

  std::string path_;
  std::vector<Level> levels_;
  std::map<std::string, std::string> properties_;
  // After an error a handle only repeats it, so a new one is opened; a region under way keeps its own alive.
  mutable std::mutex mutex_;
  mutable std::shared_ptr<void> handle_;
};

}  // namespace sslmed::io
