#include "modalities/eeg/eeg_recipe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "masking/multiblock_mask.h"
#include "masking/space_mask.h"

namespace sslmed::eeg {
namespace {

// Rows of a [channels, steps] grid whose channels go from the front of the head to its back, from left to right.
void reorder(masking::Mask& mask, const data::ChannelSpace& space, std::int32_t channels, std::int32_t steps) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto &p = space.positions[static_cast<std::size_t>(a)], &q = space.positions[static_cast<std::size_t>(b)];
    const bool known = std::isfinite(p[1]), other = std::isfinite(q[1]);
    if (!known || !other) return known && !other;  // electrodes of unknown place come last
    return p[1] != q[1] ? p[1] > q[1] : p[0] < q[0];
  });
  for (auto* rows : {&mask.visible, &mask.masked})
    for (auto& cell : *rows) cell = order[static_cast<std::size_t>(cell / steps)] * steps + cell % steps;
}

// [channels, length] cut into patches of `size` samples every `stride`.
std::vector<float> cut(std::vector<float> values, std::int64_t channels, std::int64_t length, std::int64_t size, std::int64_t stride, std::int64_t steps) {
  if (stride == size && steps * size == length) return values;  // channel after channel is already patch after patch
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(channels * steps * size));
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t t = 0; t < steps; ++t) {
      const auto from = values.begin() + c * length + t * stride;
      out.insert(out.end(), from, from + size);
    }
  }
  return out;
}

}  // namespace

EegRecipe::EegRecipe(const EegRecipeOptions& options) : options_(options) {
  if (options.patch < 2) throw ValueError("EegRecipe: patch=" + std::to_string(options.patch) + " samples must be at least 2");
  if (options.overlap < 0) throw ValueError("EegRecipe: overlap=" + std::to_string(options.overlap) + " samples must not be negative");
  if (options.overlap >= options.patch)
    throw ValueError("EegRecipe: overlap=" + std::to_string(options.overlap) + " samples must be smaller than patch=" + std::to_string(options.patch) +
                     " samples");
  masking::check(options.mask, "EegRecipe");
}

masking::Mask EegRecipe::mask(const data::Patches& patches, const data::ChannelSpace& space, const Draw& draw) const {
  const auto& how = options_.mask;
  if (how.mode == masking::Mode::kSpace)
    return masking::space_mask({patches.coords.data(), patches.grid.data(), patches.count}, masking::keep_count(patches.count, how.ratio), how.radius,
                               how.block, draw);
  auto drawn = masking::grid_mask(how, patches.extent, draw);
  if (masking::is_multiblock(how.mode)) reorder(drawn, space, patches.extent[0], patches.extent[1]);
  return drawn;
}

std::vector<data::View> EegRecipe::make(data::Sample sample, const Draw& draw) const {
  if (sample.arrays.size() != 1 || sample.arrays[0].shape.size() != 2 || !std::holds_alternative<data::ChannelSpace>(sample.arrays[0].space))
    throw ValueError("EegRecipe: needs a sample of one array [channels, time]");
  auto& array = sample.arrays[0];
  const auto& space = std::get<data::ChannelSpace>(array.space);
  auto& values = std::get<std::vector<float>>(array.values);
  const std::int64_t channels = array.shape[0], length = array.shape[1], stride = options_.patch - options_.overlap,
                     steps = length < options_.patch ? 0 : (length - options_.patch) / stride + 1;
  if (values.size() != static_cast<std::size_t>(channels * length) || space.positions.size() != static_cast<std::size_t>(channels))
    throw ValueError("EegRecipe: the sample's values and positions must have " + std::to_string(channels) + " channels");
  if (steps < 1)
    throw ValueError("EegRecipe: patch=" + std::to_string(options_.patch) + " samples is longer than the window of " + std::to_string(length) + " samples");
  data::Patches patches;
  patches.key = {array.modality, {options_.patch}, 1};
  patches.count = channels * steps;
  patches.values = cut(std::move(values), channels, length, options_.patch, stride, steps);
  patches.extent = {static_cast<std::int32_t>(channels), static_cast<std::int32_t>(steps)};
  const auto n = static_cast<std::size_t>(patches.count);
  patches.coords.reserve(4 * n);
  patches.grid.reserve(2 * n);
  patches.extra.reserve(n);
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto& place = space.positions[static_cast<std::size_t>(c)];
    for (std::int64_t t = 0; t < steps; ++t) {
      const double middle = (static_cast<double>(t * stride) + 0.5 * static_cast<double>(options_.patch)) / space.sfreq;
      patches.coords.insert(patches.coords.end(), {place[0], place[1], place[2], static_cast<float>(middle)});
      patches.grid.insert(patches.grid.end(), {static_cast<std::int32_t>(c), static_cast<std::int32_t>(t)});
      patches.extra.push_back(space.extra[static_cast<std::size_t>(c)]);
    }
  }
  std::vector<data::View> views(1);
  if (options_.mask.mode != masking::Mode::kNone) views[0].mask = mask(patches, space, draw);
  views[0].content = std::move(patches);
  if (options_.mask.complementary) {
    views.insert(views.begin(), views[0]);
    std::swap(views[0].mask->visible, views[0].mask->masked);
  }
  return views;
}

}  // namespace sslmed::eeg
