#include "transforms/volume_spatial.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "transforms/volume_resample.h"

namespace sslmed::transforms {
namespace {

void require_share(const char* name, double value) { require(value >= 0 && value <= 1, name, value, "must be a probability, 0 to 1"); }

void require_range(const char* name, double value, double most, const char* expected) { require(value >= 0 && value <= most, name, value, expected); }

// Within ± half of a range.
double around(Philox& random, double half) { return half * (2 * random.uniform() - 1); }

ElasticField draw_field(const VolumeSpatialOptions& options, Philox& random) {
  const auto n = options.control_points, locked = options.locked_borders;
  ElasticField out{{n, n, n}, {}};
  out.displacement.reserve(static_cast<std::size_t>(3 * n * n * n));
  const auto is_locked = [&](std::int64_t i) { return i < locked || i >= n - locked; };
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t k = 0; k < n; ++k)
        for (int a = 0; a < 3; ++a) {
          const double by = around(random, options.max_displacement);
          const bool stays = is_locked(i) || is_locked(j) || is_locked(k);
          out.displacement.push_back(stays ? 0.0F : static_cast<float>(by));
        }
  return out;
}

// To cells that are longer along one axis, and back.
std::pair<ResampleGrid, ResampleGrid> coarse_grids(const VolumeShape& shape, std::size_t axis, double factor) {
  require(factor >= 1 && std::isfinite(factor), "anisotropy: factor", factor, "must be finite and at least 1");
  VolumeSpacing spacing{1, 1, 1};
  spacing[axis] = std::min(factor, static_cast<double>(shape[axis]));  // at least one coarse cell
  const auto down = resample_grid(shape, {1, 1, 1}, spacing);
  ResampleGrid up{down.to, shape, spacing, {1, 1, 1}, {0, 0, 0}};
  up.offset[axis] = -down.offset[axis];
  return {down, up};
}

template <class T>
T outside_of(const VolumeSpatialPlan& plan, const T* in) {
  if (plan.fill) return static_cast<T>(*plan.fill);
  if constexpr (std::is_same_v<T, float>) return *std::min_element(in, in + plan.shape[0] * plan.shape[1] * plan.shape[2]);
  return 0;
}

}  // namespace

void check(const VolumeSpatialOptions& options) {
  for (const double share : options.p_flip) require_share("p_flip", share);
  require_share("p_affine", options.p_affine);
  require_share("p_elastic", options.p_elastic);
  require_share("p_anisotropy", options.p_anisotropy);
  require_range("scales", options.scales, 0.99, "must be 0 to 0.99");
  require_range("degrees", options.degrees, 360, "must be 0 to 360");
  require_range("translation", options.translation, 1e6, "mm must be 0 to 1e6");
  require_range("max_displacement", options.max_displacement, 1e6, "mm must be 0 to 1e6");
  require(options.control_points >= 4 && options.control_points <= 64, "control_points", options.control_points, "must be 4 to 64");
  require(options.locked_borders >= 0 && options.locked_borders <= 2, "locked_borders", options.locked_borders, "must be 0, 1 or 2");
  require(options.locked_borders < 2 || options.control_points > 4 || options.p_elastic == 0, "locked_borders", options.locked_borders,
          "locks all of 4 control points: use more control_points or fewer locked_borders");
  const auto [low, high] = options.anisotropy;
  require(low >= 1 && std::isfinite(low), "anisotropy[0]", low, "must be at least 1");
  require(high >= low && std::isfinite(high), "anisotropy[1]", high, "must be finite and at least anisotropy[0]");
  for (const auto cells : options.window) require(cells >= 0 && cells < (1 << 24), "window", cells, "must be 0 to 2^24 - 1 cells");
  require(!options.fill || std::isfinite(*options.fill), "fill", options.fill.value_or(0), "must be finite");
}

VolumeSpatialPlan plan_spatial(const VolumeShape& shape, const VolumeSpacing& spacing, const VolumeSpatialOptions& options, Philox& random) {
  check(options);
  VolumeSpatialPlan plan;
  plan.shape = VolumeMap::identity(shape, spacing).to;  // which checks them
  plan.spacing = spacing;
  plan.fill = options.fill;
  for (std::size_t a = 0; a < 3; ++a) plan.flip[a] = random.uniform() < options.p_flip[a];
  if (random.uniform() < options.p_affine) {
    plan.affine = true;
    for (auto& scale : plan.scales) scale = 1 + around(random, options.scales);
    for (auto& degrees : plan.degrees) degrees = around(random, options.degrees);
    for (auto& mm : plan.translation) mm = around(random, options.translation);
  }
  if (random.uniform() < options.p_elastic) plan.elastic = draw_field(options, random);
  for (std::size_t a = 0; a < 3; ++a) {
    plan.window[a] = options.window[a] > 0 ? options.window[a] : shape[a];
    const auto cut = shape[a] - plan.window[a];
    plan.first[a] = cut >= 0 ? (cut + 1) / 2 : -((1 - cut) / 2);
    if (cut > 0 && options.random_window) plan.first[a] = random.below(static_cast<std::uint32_t>(cut + 1));
  }
  if (random.uniform() < options.p_anisotropy) {
    plan.anisotropy_axis = static_cast<int>(random.below(3));
    plan.anisotropy = options.anisotropy[0] + (options.anisotropy[1] - options.anisotropy[0]) * random.uniform();
  }
  return plan;
}

VolumeMap VolumeSpatialPlan::map() const {
  auto out = VolumeMap::identity(shape, spacing);
  for (std::size_t a = 0; a < 3; ++a)
    if (flip[a]) out.flip(a);
  if (affine) out.affine(scales, degrees, translation);
  if (elastic) out.elastic(*elastic);
  if (window != shape || first != std::array<std::int64_t, 3>{0, 0, 0}) out.window(first, window);
  return out;
}

void lose_resolution(const VolumeShape& shape, std::size_t axis, double factor, const float* source, float* into) {
  require(axis < 3, "anisotropy: axis", axis, "must be 0, 1 or 2");
  const auto [down, up] = coarse_grids(shape, axis, factor);
  std::vector<float> coarse(static_cast<std::size_t>(down.to[0] * down.to[1] * down.to[2]));
  resample_linear(down, source, false, coarse.data());
  resample_linear(up, coarse.data(), false, into);
}

AxisTaps resolution_taps(std::int64_t cells, double factor) {
  const auto [down, up] = coarse_grids({cells, 1, 1}, 0, factor);
  const auto first = linear_taps(down, 0, false), second = linear_taps(up, 0, false);
  AxisTaps out{first.taps * second.taps, cells, {}, {}};
  for (std::int64_t s = 0; s < second.taps; ++s)
    for (std::int64_t f = 0; f < first.taps; ++f)
      for (std::int64_t i = 0; i < cells; ++i) {
        const auto coarse = static_cast<std::size_t>(s * cells + i);
        const auto fine = static_cast<std::size_t>(f * first.cells + second.index[coarse]);
        out.index.push_back(first.index[fine]);
        out.weight.push_back(second.weight[coarse] * first.weight[fine]);
      }
  return out;
}

template <class T>
void apply_spatial(const VolumeSpatialPlan& plan, const T* in, VolumeInterpolation how, T* out) {
  VolumeWarp(plan.map()).apply(in, how, outside_of(plan, in), out);
  if constexpr (std::is_same_v<T, float>)
    if (how == VolumeInterpolation::kLinear && plan.anisotropy_axis >= 0)
      lose_resolution(plan.window, static_cast<std::size_t>(plan.anisotropy_axis), plan.anisotropy, out, out);
}

template <class T>
void invert_spatial(const VolumeSpatialPlan& plan, const T* in, VolumeInterpolation how, T outside, T* out) {
  VolumeWarp(plan.map().inverse()).apply(in, how, outside, out);
}

template void apply_spatial<float>(const VolumeSpatialPlan&, const float*, VolumeInterpolation, float*);
template void apply_spatial<std::int32_t>(const VolumeSpatialPlan&, const std::int32_t*, VolumeInterpolation, std::int32_t*);
template void apply_spatial<std::uint8_t>(const VolumeSpatialPlan&, const std::uint8_t*, VolumeInterpolation, std::uint8_t*);
template void invert_spatial<float>(const VolumeSpatialPlan&, const float*, VolumeInterpolation, float, float*);
template void invert_spatial<std::int32_t>(const VolumeSpatialPlan&, const std::int32_t*, VolumeInterpolation, std::int32_t, std::int32_t*);
template void invert_spatial<std::uint8_t>(const VolumeSpatialPlan&, const std::uint8_t*, VolumeInterpolation, std::uint8_t, std::uint8_t*);

}  // namespace sslmed::transforms
