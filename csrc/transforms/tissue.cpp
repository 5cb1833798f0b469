#include "transforms/tissue.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"

namespace sslmed::transforms {
namespace {

using Mask = std::vector<std::uint8_t>;

constexpr int kFocus = 8;  // half the window in which sharpness is measured

struct Size {
  std::int64_t width, height;
  std::size_t at(std::int64_t x, std::int64_t y) const { return static_cast<std::size_t>(y * width + x); }
  std::size_t count() const { return static_cast<std::size_t>(width * height); }
};

std::uint8_t saturation(const std::uint8_t* p) {
  const int most = std::max({p[0], p[1], p[2]}), least = std::min({p[0], p[1], p[2]});
  return static_cast<std::uint8_t>(most == 0 ? 0 : (255 * (most - least) + most / 2) / most);
}

constexpr int kLeastGlass = 180;          // luminance,
constexpr double kLeastGlassShare = 0.1;  // and share of all pixels within kGlassBand of its most frequent one
constexpr int kGlassBand = 6;
constexpr int kWhiteGlass = 8;  // saturation up to which glass counts as white

using Colour = std::array<double, 3>;

std::uint8_t luminance(const std::uint8_t* p) { return static_cast<std::uint8_t>((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000); }

// The colour of the glass where it has one: of what is bright and frequent, where green is not the least of it. Pink and violet are pale stains, so that a
// field of tissue alone keeps its colours; old slides and lamps are yellow, blue or green.
std::optional<Colour> tint_of(const std::uint8_t* rgb, const Mask& light) {
  std::array<std::int64_t, 256> histogram{};
  for (const auto value : light) ++histogram[value];
  int peak = 0;
  std::int64_t most = 0;
  for (int at = kLeastGlass; at < 256; ++at) {
    std::int64_t near = 0;
    for (int i = std::max(at - kGlassBand, kLeastGlass); i <= std::min(at + kGlassBand, 255); ++i) near += histogram[static_cast<std::size_t>(i)];
    if (near > most) {
      most = near;
      peak = at;
    }
  }
  if (static_cast<double>(most) < kLeastGlassShare * static_cast<double>(light.size())) return std::nullopt;
  Colour glass{};
  for (std::size_t i = 0; i < light.size(); ++i)
    if (std::abs(light[i] - peak) <= kGlassBand && light[i] >= kLeastGlass)
      for (std::size_t c = 0; c < 3; ++c) glass[c] += static_cast<double>(rgb[3 * i + c]) / static_cast<double>(most);
  const double brightest = std::max({glass[0], glass[1], glass[2]}), least = std::min({glass[0], glass[1], glass[2]});
  if (255 * (brightest - least) <= kWhiteGlass * brightest || glass[1] <= least + 1) return std::nullopt;
  for (auto& value : glass) value = brightest / value;
  return glass;
}

// What the picture would be on white glass.
Mask untinted(const std::uint8_t* rgb, std::size_t pixels, const Colour& gain) {
  Mask out(3 * pixels);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(std::min(255L, std::lround(rgb[i] * gain[i % 3])));
  return out;
}

std::int64_t reflected(std::int64_t i, std::int64_t n) {
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

// A histogram that slides along each row, edges mirrored.
Mask median_of(const Mask& values, const Size& size, int side) {
  if (side <= 1) return values;
  const std::int64_t half = side / 2;
  const int middle = side * side / 2;
  Mask out(values.size());
  for (std::int64_t y = 0; y < size.height; ++y) {
    std::array<int, 256> histogram{};
    const auto column = [&](std::int64_t x, int by) {
      for (std::int64_t row = y - half; row < y - half + side; ++row) histogram[values[size.at(reflected(x, size.width), reflected(row, size.height))]] += by;
    };
    for (std::int64_t x = -half; x < side - half; ++x) column(x, 1);
    for (std::int64_t x = 0; x < size.width; ++x) {
      int below = 0, value = 0;
      while ((below += histogram[static_cast<std::size_t>(value)]) <= middle) ++value;
      out[size.at(x, y)] = static_cast<std::uint8_t>(value);
      column(x - half, -1);
      column(x - half + side, 1);
    }
  }
  return out;
}

// Maximum (grow) or minimum over `before` pixels behind and `after` ahead, in both directions. What lies beyond the edge does not count.
Mask spread(const Mask& mask, const Size& size, std::int64_t before, std::int64_t after, bool grow) {
  Mask rows(mask.size()), out(mask.size());
  const auto pass = [&](const Mask& from, Mask& to, std::int64_t lines, std::int64_t length, std::size_t line_step, std::size_t step) {
    for (std::int64_t line = 0; line < lines; ++line) {
      const auto start = static_cast<std::size_t>(line) * line_step;
      std::int64_t inside = 0;  // pixels of the value that wins within the window
      const auto wins = [&](std::int64_t i) { return i >= 0 && i < length && (from[start + static_cast<std::size_t>(i) * step] != 0) == grow; };
      for (std::int64_t i = -before; i < after; ++i) inside += wins(i);
      for (std::int64_t i = 0; i < length; ++i) {
        inside += wins(i + after);
        to[start + static_cast<std::size_t>(i) * step] = static_cast<std::uint8_t>((inside > 0) == grow);
        inside -= wins(i - before);
      }
    }
  };
  const auto width = static_cast<std::size_t>(size.width);
  pass(mask, rows, size.height, size.width, width, 1);
  pass(rows, out, size.width, size.height, 1, width);
  return out;
}

Mask ink_of(const std::uint8_t* rgb, const Size& size, int margin) {
  Mask ink(size.count());
  for (std::size_t i = 0; i < ink.size(); ++i) ink[i] = is_ink(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
  // Single pixels of such colours are noise, folds, pigment.
  ink = spread(spread(ink, size, 2, 2, false), size, 2, 2, true);
  return spread(ink, size, margin, margin, true);
}

// Mean absolute Laplacian around each pixel at least `least`.
Mask sharp(const Mask& light, const Size& size, double least) {
  const auto stride = static_cast<std::size_t>(size.width + 1);
  std::vector<double> sums(stride * static_cast<std::size_t>(size.height + 1));
  for (std::int64_t y = 0; y < size.height; ++y) {
    double row = 0;
    for (std::int64_t x = 0; x < size.width; ++x) {
      const auto value = [&](std::int64_t dx, std::int64_t dy) {
        return static_cast<int>(light[size.at(reflected(x + dx, size.width), reflected(y + dy, size.height))]);
      };
      row += std::abs(value(-1, 0) + value(1, 0) + value(0, -1) + value(0, 1) - 4 * value(0, 0));
      sums[static_cast<std::size_t>(y + 1) * stride + static_cast<std::size_t>(x + 1)] =
          sums[static_cast<std::size_t>(y) * stride + static_cast<std::size_t>(x + 1)] + row;
    }
  }
  Mask out(light.size());
  for (std::int64_t y = 0; y < size.height; ++y) {
    const auto top = static_cast<std::size_t>(std::max<std::int64_t>(0, y - kFocus)) * stride,
               bottom = static_cast<std::size_t>(std::min(size.height, y + kFocus + 1)) * stride;
    for (std::int64_t x = 0; x < size.width; ++x) {
      const auto left = static_cast<std::size_t>(std::max<std::int64_t>(0, x - kFocus)), right = static_cast<std::size_t>(std::min(size.width, x + kFocus + 1));
      const double sum = sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left];
      out[size.at(x, y)] = sum >= least * static_cast<double>((bottom - top) / stride * (right - left));
    }
  }
  return out;
}

// Turns pieces of `value` with fewer than `least` pixels over. Pieces of tissue hold together by corners, holes by sides only; what
// reaches the edge is no hole.
void drop_pieces(Mask& mask, const Size& size, std::uint8_t value, std::int64_t least) {
  if (least <= 1) return;
  Mask seen(mask.size());
  std::vector<std::size_t> piece;
  for (std::size_t start = 0; start < mask.size(); ++start) {
    if (mask[start] != value || seen[start]) continue;
    piece.assign(1, start);
    seen[start] = 1;
    bool edge = false;
    for (std::size_t next = 0; next < piece.size(); ++next) {
      const auto x = static_cast<std::int64_t>(piece[next]) % size.width, y = static_cast<std::int64_t>(piece[next]) / size.width;
      edge = edge || x == 0 || y == 0 || x == size.width - 1 || y == size.height - 1;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          if ((value == 0 && dx != 0 && dy != 0) || x + dx < 0 || x + dx >= size.width || y + dy < 0 || y + dy >= size.height) continue;
          const auto other = size.at(x + dx, y + dy);
          if (mask[other] != value || seen[other]) continue;
          seen[other] = 1;
          piece.push_back(other);
        }
      }
    }
    if (static_cast<std::int64_t>(piece.size()) < least && (value == 1 || !edge))
      for (const auto i : piece) mask[i] = static_cast<std::uint8_t>(1 - value);
  }
}

}  // namespace

bool is_ink(int red, int green, int blue) {
  const int most = std::max({red, green, blue}), range = most - std::min({red, green, blue});
  if (most < 51) return true;
  const double strength = static_cast<double>(range) / most;
  if (strength <= 0.1) return false;
  double hue = 0;  // degrees
  if (most == red) {
    hue = 60.0 * (green - blue) / range;
  } else if (most == green) {
    hue = 120 + 60.0 * (blue - red) / range;
  } else {
    hue = 240 + 60.0 * (red - green) / range;
  }
  if (hue < 0) hue += 360;
  // Eosin lies at 300-345°, haematoxylin at 240-300° (its pale counterstain below), DAB at 12-50°.
  return (hue >= 75 && hue < 195) || (hue >= 195 && hue < 240 && strength > 0.45) || ((hue >= 338 || hue < 12) && strength > 0.6);
}

int otsu_threshold(const std::vector<std::int64_t>& histogram) {
  double total = 0, weighted = 0;
  for (std::size_t i = 0; i < histogram.size(); ++i) {
    total += static_cast<double>(histogram[i]);
    weighted += static_cast<double>(i) * static_cast<double>(histogram[i]);
  }
  double below = 0, sum = 0, best = -1;
  int threshold = 0;
  for (std::size_t i = 0; i + 1 < histogram.size(); ++i) {
    below += static_cast<double>(histogram[i]);
    sum += static_cast<double>(i) * static_cast<double>(histogram[i]);
    if (below == 0 || below == total) continue;
    const double difference = sum / below - (weighted - sum) / (total - below), between = below * (total - below) * difference * difference;
    if (between > best) {
      best = between;
      threshold = static_cast<int>(i);
    }
  }
  return threshold;
}

std::vector<std::uint8_t> tissue_mask(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, const TissueOptions& options) {
  if (width < 1 || height < 1) throw ValueError("a picture of tissue has pixels, got " + std::to_string(width) + " x " + std::to_string(height));
  require(options.median >= 1 && options.median <= 99, "median", options.median, "pixels must be within 1 and 99");
  require(options.close >= 1, "close", options.close, "pixels must be at least 1");
  require(options.margin >= 0, "margin", options.margin, "must not be negative");
  require(options.sharpness >= 0, "sharpness", options.sharpness, "must not be negative");
  const Size size{width, height};
  Mask light(size.count()), values(size.count()), white;
  for (std::size_t i = 0; i < values.size(); ++i) light[i] = luminance(rgb + 3 * i);
  if (const auto tint = tint_of(rgb, light)) {
    white = untinted(rgb, size.count(), *tint);
    rgb = white.data();
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = options.method == TissueMethod::kLuminance ? static_cast<std::uint8_t>(255 - light[i]) : saturation(rgb + 3 * i);
  }
  values = median_of(values, size, options.median);
  std::vector<std::int64_t> histogram(256);
  for (const auto value : values) ++histogram[value];
  int threshold = otsu_threshold(histogram);
  if (options.method == TissueMethod::kOtsu) threshold = std::clamp(threshold, 8, 20);
  if (options.method == TissueMethod::kClam) threshold = 8;
  if (options.method == TissueMethod::kLuminance) threshold = std::clamp(threshold, 20, 76);
  const Mask focus = options.sharpness > 0 ? sharp(light, size, options.sharpness) : Mask(size.count(), 1);
  const Mask ink = options.pen ? ink_of(rgb, size, options.margin) : Mask(size.count(), 0);
  Mask mask(size.count());
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = values[i] > threshold && focus[i] && !ink[i];
  if (options.close > 1) {
    // The square's corner of an even side is one pixel off its middle; shrinking with the mirrored square puts everything back.
    const std::int64_t before = options.close / 2, after = options.close - 1 - before;
    mask = spread(spread(mask, size, before, after, true), size, after, before, false);
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = mask[i] && !ink[i];
  }
  drop_pieces(mask, size, 1, options.least);
  drop_pieces(mask, size, 0, options.hole);
  return mask;
}

}  // namespace sslmed::transforms
