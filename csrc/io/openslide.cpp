#include "io/openslide.h"

#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "io/tile_cache.h"

namespace sslmed::io {
namespace {

std::string& library_name() {
  static std::string name = "libopenslide.so.1";
  return name;
}

constexpr std::size_t kKept = std::size_t{1} << 22;  // pixels of a thread's buffer that stay for its next region

struct Library {
  Library() {
    void* library = ::dlopen(library_name().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
      throw std::runtime_error("OpenSlide 4 is needed to read slides, and was not found (pip install openslide-bin): " + std::string(::dlerror()));
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, name));
      if (function == nullptr) throw std::runtime_error(library_name() + " has no " + name + ": OpenSlide 4 or later is needed");
    };
    find(version, "openslide_get_version");
    if (std::atoi(version()) < 4) throw std::runtime_error("OpenSlide 4 or later is needed, found " + std::string(version()) + " (pip install openslide-bin)");
    find(open, "openslide_open");
    find(close, "openslide_close");
    find(error, "openslide_get_error");
    find(level_count, "openslide_get_level_count");
    find(level_dimensions, "openslide_get_level_dimensions");
    find(level_downsample, "openslide_get_level_downsample");
    find(read_region, "openslide_read_region");
    find(property_names, "openslide_get_property_names");
    find(property_value, "openslide_get_property_value");
    find(cache_create, "openslide_cache_create");
    find(cache_release, "openslide_cache_release");
    find(set_cache, "openslide_set_cache");
    cache = cache_create(allowed / 2);
  }

  const char* (*version)() = nullptr;
  void* (*open)(const char*) = nullptr;
  void (*close)(void*) = nullptr;
  const char* (*error)(void*) = nullptr;
  std::int32_t (*level_count)(void*) = nullptr;
  void (*level_dimensions)(void*, std::int32_t, std::int64_t*, std::int64_t*) = nullptr;
  double (*level_downsample)(void*, std::int32_t) = nullptr;
  void (*read_region)(void*, std::uint32_t*, std::int64_t, std::int64_t, std::int32_t, std::int64_t, std::int64_t) = nullptr;
  const char* const* (*property_names)(void*) = nullptr;
  const char* (*property_value)(void*, const char*) = nullptr;
  void* (*cache_create)(std::size_t) = nullptr;
  void (*cache_release)(void*) = nullptr;
  void (*set_cache)(void*, void*) = nullptr;

  // OpenSlide fills its cache only by what is read through it, so the tiles that we read ourselves have all the bytes until then.
  std::mutex cache_mutex;
  void* cache = nullptr;  // one for all slides
  std::size_t allowed = shared_tile_cache()->capacity();
  std::atomic<bool> shares = false;
};

// Never unloaded: slides may outlive statics.
Library& library() {
  static Library* loaded = new Library;
  return *loaded;
}

// OpenSlide's complaint as an error of ours. That this process, or the machine, may open no more files says nothing of the slide.
[[noreturn]] void complain(const std::string& path, const std::string& text) {
  for (const int limit : {EMFILE, ENFILE})
    if (text.find(std::strerror(limit)) != std::string::npos)
      throw ReadError(path, "cannot be opened (raise the limit of open files, ulimit -n, or keep fewer slides open, open_slides=)", limit);
  throw FormatError(path, "a sound slide", quote(text, 256));
}

}  // namespace

void use_openslide(const std::string& name) { library_name() = name; }

std::string openslide_version() { return library().version(); }

void set_slide_cache(std::size_t bytes) {
  auto& lib = library();
  const std::lock_guard lock(lib.cache_mutex);
  lib.cache_release(lib.cache);  // slides that are open keep the one that they have
  lib.cache = lib.cache_create(bytes / 2);
  lib.allowed = bytes;
  shared_tile_cache()->set_capacity(lib.shares ? bytes / 2 : bytes);
}

OpenSlideFile::OpenSlideFile(std::string path) : path_(std::move(path)) {
  const auto open = handle();
  auto& lib = library();
  const auto count = lib.level_count(open.get());
  for (std::int32_t i = 0; i < count; ++i) {
    Level level{};
    lib.level_dimensions(open.get(), i, &level.width, &level.height);
    level.downsample = lib.level_downsample(open.get(), i);
    levels_.push_back(level);
  }
  if (const auto* names = lib.property_names(open.get()))
    for (; *names != nullptr; ++names)
      if (const auto* value = lib.property_value(open.get(), *names)) properties_[*names] = value;
  if (levels_.empty()) throw FormatError(path_, "a slide with a level", "none");
}

std::shared_ptr<void> OpenSlideFile::handle() const {
  auto& lib = library();
  const std::lock_guard lock(mutex_);
  if (handle_) return handle_;
  void* opened = lib.open(path_.c_str());
  if (opened == nullptr) {
    // ReadError where it is not there; or where OpenSlide, which holds a few at a time, may have met the limit of open files.
    std::vector<std::unique_ptr<File>> files;
    for (int i = 0; i < 8; ++i) files.push_back(std::make_unique<File>(path_));
    throw FormatError(path_, "a slide of a format that OpenSlide " + std::string(lib.version()) + " reads", "a file of no such format");
  }
  handle_ = std::shared_ptr<void>(opened, lib.close);
  if (const char* error = lib.error(opened)) {
    const std::string text = error;
    handle_.reset();
    complain(path_, text);
  }
  const std::lock_guard cache_lock(lib.cache_mutex);
  lib.set_cache(opened, lib.cache);
  return handle_;
}

void OpenSlideFile::read(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const {
  auto& lib = library();
  const auto open = handle();
  if (!lib.shares) {
    const std::lock_guard lock(lib.cache_mutex);
    lib.shares = true;
    shared_tile_cache()->set_capacity(lib.allowed / 2);
  }
  thread_local std::vector<std::uint32_t> pixels;
  const auto n = static_cast<std::size_t>(width * height);
  pixels.resize(n);
  lib.read_region(open.get(), pixels.data(), x, y, static_cast<std::int32_t>(level), width, height);
  if (const char* error = lib.error(open.get())) {
    const std::string text = error;
    const std::lock_guard lock(mutex_);
    if (handle_ == open) handle_.reset();
    complain(path_, text);
  }
  // Colours come multiplied by alpha, so white shows through by what alpha lacks.
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t p = pixels[i], white = 255 - (p >> 24);
    into[3 * i] = static_cast<std::uint8_t>((p >> 16 & 255) + white);
    into[3 * i + 1] = static_cast<std::uint8_t>((p >> 8 & 255) + white);
    into[3 * i + 2] = static_cast<std::uint8_t>((p & 255) + white);
  }
  if (n > kKept) std::vector<std::uint32_t>().swap(pixels);
}

}  // namespace sslmed::io
