#include "transforms/augment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "transforms/bicubic.h"
#include "transforms/colour.h"
#include "transforms/stain.h"

namespace sslmed::transforms {
namespace {

constexpr int kCropTries = 10;

double between(Philox& random, double low, double high) { return low + (high - low) * random.uniform(); }

std::int64_t place(Philox& random, std::int64_t room) { return random.below(static_cast<std::uint32_t>(room + 1)); }

// torchvision's: area and aspect are drawn until the box fits, and else the largest box in the middle with an aspect in range is taken.
Box resized_crop(std::int64_t width, std::int64_t height, const Augmentation& how, Philox& random) {
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  for (int attempt = 0; attempt < kCropTries; ++attempt) {
    const double area = w * h * between(random, how.area_low, how.area_high);
    const double aspect = std::exp(between(random, std::log(how.aspect_low), std::log(how.aspect_high)));
    const auto columns = std::llround(std::sqrt(area * aspect)), rows = std::llround(std::sqrt(area / aspect));
    if (columns < 1 || rows < 1 || columns > width || rows > height) continue;
    const auto top = place(random, height - rows), left = place(random, width - columns);
    return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(columns), static_cast<double>(rows)};
  }
  double columns = w, rows = h;
  if (w / h < how.aspect_low) rows = std::round(w / how.aspect_low);
  if (w / h > how.aspect_high) columns = std::round(h * how.aspect_high);
  return {std::floor((w - columns) / 2), std::floor((h - rows) / 2), columns, rows};
}

bool resizes(const Augmentation& how) { return how.area_low < 1 || how.area_high < 1; }

Box crop(std::int64_t width, std::int64_t height, const Augmentation& how, const Frame& frame, Philox& random) {
  if (resizes(how)) return resized_crop(width, height, how, random);
  const double side = static_cast<double>(frame.size) * frame.zoom;
  const auto pixels = static_cast<std::int64_t>(std::ceil(side - 1e-9));
  if (width < pixels || height < pixels)
    throw ValueError("a picture of " + std::to_string(width) + " x " + std::to_string(height) + " has no part of " + std::to_string(pixels) + " x " +
                     std::to_string(pixels) + "; ask for resized crops, or for larger pictures");
  if (frame.middle) return {std::floor((static_cast<double>(width) - side) / 2), std::floor((static_cast<double>(height) - side) / 2), side, side};
  const auto left = place(random, width - pixels), top = place(random, height - pixels);
  return {static_cast<double>(left), static_cast<double>(top), side, side};
}

// What the result's pixels are multiplied by after a flip or a turn that itself maps by `step`.
Affine after(const Affine& m, const Affine& step) {
  return {m[0] * step[0] + m[1] * step[3], m[0] * step[1] + m[1] * step[4], m[0] * step[2] + m[1] * step[5] + m[2],
          m[3] * step[0] + m[4] * step[3], m[3] * step[1] + m[4] * step[4], m[3] * step[2] + m[4] * step[5] + m[5]};
}

void draw_moves(const Augmentation& how, Philox& random, AugmentPlan& plan) {
  if (how.flips) {
    plan.across = random.below(2) == 1;
    plan.down = random.below(2) == 1;
  }
  if (how.turns) plan.turns = static_cast<std::int32_t>(random.below(4));
}

void draw_jitter(const Augmentation& how, Philox& random, AugmentPlan& plan) {
  std::array<int, 4> order{0, 1, 2, 3};
  for (std::uint32_t i = 3; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  const auto factor = [&](double spread) { return between(random, std::max(0.0, 1 - spread), 1 + spread); };
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto& step = plan.steps[i];
    if (order[i] == 0 && how.brightness > 0) step = {Colour::kBrightness, factor(how.brightness)};
    if (order[i] == 1 && how.contrast > 0) step = {Colour::kContrast, factor(how.contrast)};
    if (order[i] == 2 && how.saturation > 0) step = {Colour::kSaturation, factor(how.saturation)};
    if (order[i] == 3 && how.hue > 0) step = {Colour::kHue, between(random, -how.hue, how.hue)};
  }
}

void draw_colours(const Augmentation& how, Philox& random, AugmentPlan& plan) {
  plan.macenko = how.macenko > 0;
  if (plan.macenko) {
    for (auto& value : plan.macenko_scale) value = between(random, 1 - how.macenko, 1 + how.macenko);
    for (auto& value : plan.macenko_shift) value = between(random, -how.macenko / 2, how.macenko / 2);
  }
  plan.hed = how.hed > 0;
  if (plan.hed) {
    for (auto& value : plan.hed_scale) value = between(random, 1 - how.hed, 1 + how.hed);
    for (auto& value : plan.hed_shift) value = between(random, -how.hed, how.hed);
  }
  if (how.brightness > 0 || how.contrast > 0 || how.saturation > 0 || how.hue > 0)
    if (random.uniform() < how.jitter) draw_jitter(how, random, plan);
  plan.grey = how.grey > 0 && random.uniform() < how.grey;
  if (how.blur > 0 && random.uniform() < how.blur) plan.blur = between(random, how.blur_low, how.blur_high);
  plan.solarise = how.solarise > 0 && random.uniform() < how.solarise;
}

void cut(const AugmentPlan& plan, const std::uint8_t* source, std::int64_t width, std::int64_t height, std::uint8_t* into) {
  const auto size = plan.size;
  if (resizes(plan)) return resize_bicubic(source, width, height, 3, plan.box, size, size, into);
  const auto left = static_cast<std::int64_t>(plan.box.x), top = static_cast<std::int64_t>(plan.box.y);
  for (std::int64_t y = 0; y < size; ++y) std::copy_n(source + 3 * ((top + y) * width + left), 3 * size, into + 3 * y * size);
}

void turn(const AugmentPlan& plan, std::uint8_t* rgb) {
  const std::int64_t size = plan.size;
  if (plan.across) flip_horizontally(rgb, size, size);
  if (plan.down) flip_vertically(rgb, size, size);
  if (plan.turns == 0) return;
  thread_local std::vector<std::uint8_t> before;
  before.assign(rgb, rgb + 3 * size * size);
  rotate_quarters(before.data(), size, size, plan.turns, rgb);
}

void recolour(const AugmentPlan& plan, std::uint8_t* rgb) {
  const std::int64_t pixels = plan.size * plan.size;
  if (plan.macenko) {
    const StainChange change{{plan.macenko_scale[0], plan.macenko_scale[1]}, {plan.macenko_shift[0], plan.macenko_shift[1]}, /*tissue_only=*/true};
    if (const auto own = macenko_fit(rgb, pixels)) macenko_transform(rgb, pixels, *own, *own, change);
  }
  if (plan.hed) hed_jitter(rgb, pixels, plan.hed_scale, plan.hed_shift);
  for (const auto& [what, by] : plan.steps) {
    if (what == Colour::kBrightness) adjust_brightness(rgb, pixels, by);
    if (what == Colour::kContrast) adjust_contrast(rgb, pixels, by);
    if (what == Colour::kSaturation) adjust_saturation(rgb, pixels, by);
    if (what == Colour::kHue) adjust_hue(rgb, pixels, by);
  }
  if (plan.grey) to_grey(rgb, pixels);
  if (plan.blur > 0) gaussian_blur(rgb, plan.size, plan.size, blur_side(plan.size), plan.blur);
  if (plan.solarise) solarise(rgb, pixels, kSolariseFrom);
}

}  // namespace

void check(const Augmentation& how) {
  // By the names of sslmed.Augmentation.
  const auto within = [](double low, double value, double high, const char* name) {
    std::ostringstream range;
    range << "must be within [" << low << ", " << high << ']';
    require(value >= low && value <= high, name, value, range.str());
  };
  const auto ordered = [](double low, double high, double most, const char* name) {
    std::ostringstream text;
    text << name << "=(" << low << ", " << high << ") must be 0 < low <= high";
    if (std::isfinite(most)) text << " <= " << most;
    if (!(low > 0 && low <= high && high <= most && std::isfinite(high))) throw ValueError(text.str());
  };
  ordered(how.area_low, how.area_high, 1, "scale");
  ordered(how.aspect_low, how.aspect_high, std::numeric_limits<double>::infinity(), "ratio");
  ordered(how.blur_low, how.blur_high, std::numeric_limits<double>::infinity(), "blur_sigma");
  within(0, how.hed, 1, "hed");
  within(0, how.macenko, 1, "macenko");
  within(0, how.hue, 0.5, "hue");
  for (const auto& [value, name] : {std::pair{how.brightness, "brightness"}, {how.contrast, "contrast"}, {how.saturation, "saturation"}})
    within(0, value, 10, name);
  for (const auto& [value, name] : {std::pair{how.jitter, "p_jitter"}, {how.grey, "p_grayscale"}, {how.blur, "p_blur"}, {how.solarise, "p_solarize"}})
    within(0, value, 1, name);
}

void check(const Frame& frame, const Augmentation& how) {
  require(frame.size >= 1 && frame.size <= (1 << 14), "size", frame.size, "pixels must be within 1 and 16,384");
  require(frame.zoom >= 1.0 / 16 && frame.zoom <= 64, "zoom", frame.zoom, "must be within 1/16 and 64");
  if (resizes(how) && (frame.zoom != 1 || frame.middle)) throw ValueError("a resized crop draws its size and place: give neither zoom nor middle");
}

AugmentPlan plan(std::int64_t width, std::int64_t height, const Augmentation& how, const Frame& frame, Philox& random) {
  AugmentPlan plan;
  plan.box = crop(width, height, how, frame, random);
  plan.size = frame.size;
  draw_moves(how, random, plan);
  draw_colours(how, random, plan);
  return plan;
}

Affine place_of(const AugmentPlan& plan) {
  const auto side = static_cast<double>(plan.size);
  Affine place{plan.box.width / side, 0, plan.box.x, 0, plan.box.height / side, plan.box.y};
  if (plan.across) place = after(place, {-1, 0, side, 0, 1, 0});
  if (plan.down) place = after(place, {1, 0, 0, 0, -1, side});
  // A quarter counter-clockwise: what was on the right is on top.
  for (int i = 0; i < plan.turns; ++i) place = after(place, {0, -1, side, 1, 0, 0});
  return place;
}

void to_squares(const std::uint8_t* rgb, std::int64_t size, std::int64_t patch, std::uint8_t* into) {
  for (std::int64_t top = 0; top < size; top += patch)
    for (std::int64_t left = 0; left < size; left += patch)
      for (std::int64_t y = top; y < top + patch; ++y) into = std::copy_n(rgb + 3 * (y * size + left), 3 * patch, into);
}

void apply(const AugmentPlan& plan, const std::uint8_t* source, std::int64_t width, std::int64_t height, std::uint8_t* into) {
  cut(plan, source, width, height, into);
  turn(plan, into);
  recolour(plan, into);
}

}  // namespace sslmed::transforms
