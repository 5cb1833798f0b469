#include "io/slide.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace sslmed::io {
namespace {

// OpenSlide composes larger regions of parts, whose corners it rounds to pixels of level 0.
constexpr std::int64_t kOpenSlidePart = 4096;
// Electron microscopes end above, and lenses below: 72 dots an inch are somebody's default, not a scan.
constexpr double kLeastMpp = 0.01, kMostMpp = 100;
constexpr double kFarthest = std::int64_t{1} << 40;  // pixels of level 0: sums and products of places stay exact

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::optional<double> number_of(const std::map<std::string, std::string>& properties, const std::string& name) {
  const auto found = properties.find(name);
  if (found == properties.end()) return std::nullopt;
  double value = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [stop, error] = std::from_chars(found->second.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value) || value <= 0) return std::nullopt;
  return value;
}

std::optional<double> first_of(const std::optional<double>& a, const std::optional<double>& b) { return a ? a : b; }

std::optional<TiffFile> checked(const std::string& path) {
  auto tiff = TiffFile::open(path);
  if (tiff && tiff->big_endian() && !tiff->big())
    throw FormatError(path, "a little-endian TIFF or a BigTIFF", "a classic big-endian TIFF, which OpenSlide does not read");
  return tiff;
}

}  // namespace

Slide::Slide(const std::string& path, const SlideOptions& options, const SlideLayout& known)
    : path_(path),
      tiff_(checked(path)),
      id_(is_known(options, known) ? known.id : next_id()),
      file_(id_ == known.id ? OpenSlideFile(path, known.levels) : OpenSlideFile(path)) {
  const auto vendor = properties().find("openslide.vendor");
  const bool plain = id_ == known.id || (vendor != properties().end() && (vendor->second == "aperio" || vendor->second == "generic-tiff"));
  bool whole = true;
  for (const auto& stored : file_.levels()) {
    Level level{stored.width, stored.height, stored.downsample, std::nullopt};
    if (options.fast && plain && tiff_) {
      std::size_t found = 0, matches = 0;
      const auto& directories = tiff_->directories();
      for (std::size_t i = 0; i < directories.size(); ++i) {
        if (!directories[i].tiled() || directories[i].width != level.width || directories[i].height != level.height) continue;
        found = i;
        ++matches;
      }
      if (matches == 1 && whole && JpegTiles::readable(directories[found])) level.direct.emplace(*tiff_, found, id_, options.cache);
      // Where tiles are missing, OpenSlide makes Aperio's coarser ones of the finer level: what is stored of them shows the hole.
      if (matches != 1 || std::count(directories[found].sizes.begin(), directories[found].sizes.end(), 0U) > 0) whole = false;
    }
    levels_.push_back(std::move(level));
  }
  find_mpp(options);
}

bool Slide::is_known(const SlideOptions& options, const SlideLayout& known) const {
  return options.fast && options.mpp && tiff_ && !known.levels.empty() && known.stamp == tiff_->file().stamp();
}

SlideLayout Slide::layout() const {
  const bool direct = std::any_of(levels_.begin(), levels_.end(), [](const Level& level) { return level.direct.has_value(); });
  if (!direct) return {};
  return {tiff_->file().stamp(), id_, file_.levels()};
}

void Slide::find_mpp(const SlideOptions& options) {
  if (options.mpp) {
    for (const double value : *options.mpp)
      if (!(value >= kLeastMpp && value <= kMostMpp)) throw ValueError(path_ + ": mpp must be within [0.01, 100] µm per pixel, got " + std::to_string(value));
    mpp_ = options.mpp;
    return;
  }
  double unit = 0;  // µm
  if (const auto found = properties().find("tiff.ResolutionUnit"); found != properties().end()) {
    if (found->second == "centimeter") unit = 10000;
    if (found->second == "inch") unit = 25400;
  }
  const auto from_tiff = [&](const char* name) -> std::optional<double> {
    const auto dots = number_of(properties(), name);
    if (!dots || unit == 0) return std::nullopt;
    return unit / *dots;
  };
  const auto x = first_of(number_of(properties(), "openslide.mpp-x"), from_tiff("tiff.XResolution"));
  const auto y = first_of(number_of(properties(), "openslide.mpp-y"), from_tiff("tiff.YResolution"));
  if (!x || !y) return;
  if (*x < kLeastMpp || *x > kMostMpp || *y < kLeastMpp || *y > kMostMpp) {
    warnings_.push_back(path_ + ": its scale of " + std::to_string(*x) + " x " + std::to_string(*y) + " µm per pixel cannot be a slide's and is not used");
    return;
  }
  mpp_ = {*x, *y};
}

// What the direct way finds damaged is OpenSlide's to judge: it takes some of it, and there is one answer whichever way a tile is read.
bool Slide::read_directly(const Level& level, std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height, std::uint8_t* into) const {
  if (!level.direct) return false;
  try {
    return level.direct->read(x, y, width, height, into);
  } catch (const FormatError&) {
    return false;
  }
}

void Slide::read(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const {
  if (std::max(std::abs(static_cast<double>(x)), std::abs(static_cast<double>(y))) > kFarthest)
    throw ValueError(path_ + ": a corner within 2^40 pixels was expected, " + std::to_string(x) + ", " + std::to_string(y) + " was asked for");
  const auto& l = levels_.at(static_cast<std::size_t>(level));
  const double lx = static_cast<double>(x) / l.downsample, ly = static_cast<double>(y) / l.downsample;
  const bool small = width <= kOpenSlidePart && height <= kOpenSlidePart;
  if (lx == std::floor(lx) && ly == std::floor(ly) && (small || l.downsample == std::floor(l.downsample)) &&
      read_directly(l, static_cast<std::int64_t>(lx), static_cast<std::int64_t>(ly), width, height, into))
    return;
  file_.read(x, y, level, width, height, into);
}

void Slide::read_level(std::int64_t x, std::int64_t y, std::int64_t level, std::int64_t width, std::int64_t height, std::uint8_t* into) const {
  const auto& l = levels_.at(static_cast<std::size_t>(level));
  if (read_directly(l, x, y, width, height, into)) return;
  file_.read(std::llround(static_cast<double>(x) * l.downsample), std::llround(static_cast<double>(y) * l.downsample), level, width, height, into);
}

}  // namespace sslmed::io
