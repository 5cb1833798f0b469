#pragma once
// One picture's changes, all drawn, as plain bytes: they are carried out where they were drawn or travel with the picture to a GPU.

#include <array>
#include <cstdint>
#include <type_traits>

#include "transforms/bicubic.h"

namespace sslmed::transforms {

enum class Colour : std::int32_t { kNone, kBrightness, kContrast, kSaturation, kHue };

struct ColourStep {
  Colour what = Colour::kNone;
  double by = 0;  // a factor, or a part of a turn
};

// In the order in which they are done.
struct AugmentPlan {
  Box box;                            // what is cut out of the picture, and resized to
  std::int64_t size = 0;              // pixels of the result's sides
  bool across = false, down = false;  // mirrored: left and right, top and bottom
  std::int32_t turns = 0;             // quarters, counter-clockwise
  bool macenko = false, hed = false;
  double macenko_scale[2] = {1, 1}, macenko_shift[2] = {0, 0};
  std::array<double, 3> hed_scale{1, 1, 1}, hed_shift{0, 0, 0};
  ColourStep steps[4];
  bool grey = false;
  double blur = 0;  // pixels: its sigma; 0: none
  bool solarise = false;
};

// Of one picture among many that lie end to end.
struct PlacedPlan {
  AugmentPlan plan;
  std::int64_t first = 0, width = 0, height = 0;  // its first byte, and pixels
};

static_assert(std::is_trivially_copyable_v<PlacedPlan>);  // jobs made of them travel to a GPU

// Whether pixels change their size; otherwise they are copied.
inline bool resizes(const AugmentPlan& plan) { return plan.box.width != static_cast<double>(plan.size) || plan.box.height != static_cast<double>(plan.size); }

// Taps of a blur: SimCLR's, a tenth of the side.
inline int blur_side(std::int64_t size) { return static_cast<int>(size / 10) | 1; }
constexpr int kSolariseFrom = 128;

}  // namespace sslmed::transforms
