#include "modalities/picture/slide_region.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "transforms/area_resize.h"

namespace sslmed::picture {
namespace {

// Source pixels that are in memory at a time.
constexpr std::int64_t kBand = 1 << 24;

// Pixels of level 0 from its corner; no slide has a million a side.
constexpr double kFarthest = 1 << 26;

// How many level-0 pixels one of a level's stands for. A level of a quarter's size has floor(w / 4) columns, so that the ratio of sides,
// 4.0003, is not the scale: features would move by pixels at the far end.
double scale_of(const io::Slide& slide, const io::Slide::Level& level) {
  const auto& full = slide.levels().front();
  const double whole = std::round(level.downsample);
  const auto fits = [&](std::int64_t side, std::int64_t of) { return std::abs(static_cast<double>(side) - static_cast<double>(of) / whole) <= 1; };
  return whole >= 1 && fits(level.width, full.width) && fits(level.height, full.height) ? whole : level.downsample;
}

// The coarsest level that is not coarser than the pixels asked for, and its scale.
std::pair<std::size_t, double> level_for(const io::Slide& slide, const std::array<double, 2>& pixel) {
  std::pair<std::size_t, double> best{0, 1};
  for (std::size_t i = 1; i < slide.levels().size(); ++i) {
    const double scale = scale_of(slide, slide.levels()[i]);
    if (scale <= std::min(pixel[0], pixel[1]) * (1 + 1e-6) && scale > best.second) best = {i, scale};
  }
  return best;
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

void read_area(const io::Slide& slide, double x, double y, std::array<double, 2> pixel, std::int64_t width, std::int64_t height, std::uint8_t* into) {
  const double right = x + static_cast<double>(width) * pixel[0], bottom = y + static_cast<double>(height) * pixel[1];
  for (const double edge : {x, y, right, bottom})
    if (!(std::abs(edge) <= kFarthest))
      throw ValueError(slide.path() + ": a region within 2^26 pixels of the slide's corner was expected, one that reaches " + text_of(edge) + " was asked for");
  const auto [best, scale] = level_for(slide, pixel);
  const double step_x = pixel[0] / scale, step_y = pixel[1] / scale;
  double left = x / scale, top = y / scale;
  // A corner that is a whole pixel but for rounding must not drag a column of neighbours in.
  if (std::abs(left - std::round(left)) < 1e-6) left = std::round(left);
  if (std::abs(top - std::round(top)) < 1e-6) top = std::round(top);
  const auto first_column = static_cast<std::int64_t>(std::floor(left));
  const auto columns = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(left + static_cast<double>(width) * step_x - 1e-6)) - first_column);
  const auto level = static_cast<std::int64_t>(best);
  if (step_x == 1 && step_y == 1 && left == std::floor(left) && top == std::floor(top)) {
    slide.read_level(first_column, static_cast<std::int64_t>(top), level, width, height, into);
    return;
  }
  const auto first_row = static_cast<std::int64_t>(std::floor(top));
  const auto rows = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(top + static_cast<double>(height) * step_y - 1e-6)) - first_row);
  const auto band = std::clamp<std::int64_t>(kBand / columns, 1, rows);
  thread_local std::vector<std::uint8_t> source;
  source.resize(static_cast<std::size_t>(3 * columns * band));
  std::int64_t held = -band;  // the first row of those in `source`
  const auto row = [&](std::int64_t i) {
    if (i >= held + band) {
      held = i;
      slide.read_level(first_column, first_row + i, level, columns, std::min(band, rows - i), source.data());
    }
    return source.data() + 3 * columns * (i - held);
  };
  transforms::area_resize(row, columns, rows, 3, {left - static_cast<double>(first_column), step_x, width},
                          {top - static_cast<double>(first_row), step_y, height}, into);
}

std::array<double, 2> whole_corner(const io::Slide& slide, double x, double y, std::array<double, 2> pixel) {
  const double scale = level_for(slide, pixel).second;
  return {scale * std::floor(x / scale + 1e-6), scale * std::floor(y / scale + 1e-6)};
}

void read_mpp(const io::Slide& slide, double x, double y, double mpp, std::int64_t width, std::int64_t height, std::uint8_t* into) {
  if (!slide.mpp()) throw ValueError(slide.path() + ": its scale is not known; give the µm per pixel of level 0 (mpp=) to read it at one");
  if (!(mpp > 0 && std::isfinite(mpp))) throw ValueError("mpp must be a positive number of µm per pixel, got " + text_of(mpp));
  const auto& own = *slide.mpp();
  if (mpp < 0.5 * std::max(own[0], own[1]))
    throw ValueError(slide.path() + ": " + text_of(mpp) + " µm per pixel asked of a slide that was scanned at " + text_of(std::max(own[0], own[1])) +
                     ": there is no such detail in it");
  read_area(slide, x, y, {mpp / own[0], mpp / own[1]}, width, height, into);
}

std::array<std::int64_t, 2> thumbnail_size(const io::Slide& slide, std::int64_t max_width, std::int64_t max_height) {
  if (max_width < 1 || max_height < 1)
    throw ValueError("a thumbnail has at least one pixel, asked for at most " + std::to_string(max_width) + " x " + std::to_string(max_height));
  const auto& full = slide.levels().front();
  const auto w = static_cast<double>(full.width), h = static_cast<double>(full.height);
  const double shrink = std::max({1.0, w / static_cast<double>(max_width), h / static_cast<double>(max_height)});
  return {std::clamp<std::int64_t>(std::llround(w / shrink), 1, max_width), std::clamp<std::int64_t>(std::llround(h / shrink), 1, max_height)};
}

void read_thumbnail(const io::Slide& slide, std::int64_t width, std::int64_t height, std::uint8_t* into) {
  const auto& full = slide.levels().front();
  read_area(slide, 0, 0, {static_cast<double>(full.width) / static_cast<double>(width), static_cast<double>(full.height) / static_cast<double>(height)}, width,
            height, into);
}

}  // namespace sslmed::picture
