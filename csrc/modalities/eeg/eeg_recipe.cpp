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
void reorder(masking::Mask& mask, const data::Patches& patches) {
  const auto channels = patches.extent[0], steps = patches.extent[1];
  const auto place = [&](std::int32_t channel) { return patches.coords.data() + static_cast<std::size_t>(4 * channel * steps); };  // x, y …
  std::vector<std::int32_t> order(static_cast<std::size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto *p = place(a), *q = place(b);
    const bool known = std::isfinite(p[1]), other = std::isfinite(q[1]);
    if (!known || !other) return known && !other;  // electrodes of unknown place come last
    return p[1] != q[1] ? p[1] > q[1] : p[0] < q[0];
  });
  for (auto* rows : {&mask.visible, &mask.masked})
    for (auto& cell : *rows) cell = order[static_cast<std::size_t>(cell / steps)] * steps + cell % steps;
}

// Samples [first, first + size) of all channels.
std::vector<float> part_of(const std::vector<float>& values, std::int64_t length, std::int64_t first, std::int64_t size) {
  std::vector<float> out;
  const auto channels = static_cast<std::int64_t>(values.size()) / length;
  out.reserve(static_cast<std::size_t>(channels * size));
  for (std::int64_t c = 0; c < channels; ++c) out.insert(out.end(), values.begin() + c * length + first, values.begin() + c * length + first + size);
  return out;
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

EegRecipe::EegRecipe(EegRecipeOptions options) : options_(std::move(options)) {
  const auto patch = options_.patch;
  if (patch != 0 && patch < 2) throw ValueError("EegRecipe: patch=" + std::to_string(patch) + " samples must be at least 2");
  if (options_.overlap < 0) throw ValueError("EegRecipe: overlap=" + std::to_string(options_.overlap) + " samples must not be negative");
  if (patch != 0 && options_.overlap >= patch)
    throw ValueError("EegRecipe: overlap=" + std::to_string(options_.overlap) + " samples must be smaller than patch=" + std::to_string(patch) + " samples");
  if (options_.mask_cell < 1) throw ValueError("EegRecipe: cell=" + std::to_string(options_.mask_cell) + " samples must be at least 1");
  if (options_.views.empty()) throw ValueError("EegRecipe: views must hold at least one view");
  for (const auto& view : options_.views) check_view(view);
}

void EegRecipe::check_view(const EegView& view) const {
  const std::string where = "EegRecipe: view '" + view.role + "'";
  const auto patch = options_.patch;
  if (view.count < 1) throw ValueError(where + ": count=" + std::to_string(view.count) + " must be at least 1");
  if (view.length < 0) throw ValueError(where + ": length=" + std::to_string(view.length) + " samples must not be negative");
  if (patch > 0 && view.length > 0 && (view.length < patch || (view.length - patch) % (patch - options_.overlap) != 0))
    throw ValueError(where + ": length=" + std::to_string(view.length) + " samples must be filled by patches of " + std::to_string(patch) + " samples" +
                     (options_.overlap > 0 ? " that overlap by " + std::to_string(options_.overlap) : ""));
  transforms::check(view.augmentation);
  masking::check(view.mask, "EegRecipe");
  const auto mode = view.mask.mode;
  using masking::Mode;
  if (patch == 0 && mode != Mode::kNone && mode != Mode::kRandom && mode != Mode::kBernoulli && mode != Mode::kTime)
    throw ValueError(where + ": mask must be 'none', 'random', 'bernoulli' or 'time' for dense views");
}

masking::Mask EegRecipe::mask(const data::Patches& patches, const masking::MaskOptions& how, const Draw& draw) const {
  if (how.mode == masking::Mode::kSpace)
    return masking::space_mask({patches.coords.data(), patches.grid.data(), patches.count}, masking::keep_count(patches.count, how.ratio), how.radius,
                               how.block, draw);
  auto drawn = masking::grid_mask(how, patches.extent, draw);
  if (!masking::is_multiblock(how.mode) && how.mode != masking::Mode::kBlock) return drawn;
  reorder(drawn, patches);
  if (how.mode == masking::Mode::kBlock)
    for (auto* rows : {&drawn.visible, &drawn.masked}) std::sort(rows->begin(), rows->end());
  return drawn;
}

data::Patches EegRecipe::patches(const data::Array& array, std::vector<float> values, std::int64_t length, const std::vector<std::uint8_t>& kept) const {
  const auto& space = std::get<data::ChannelSpace>(array.space);
  const std::int64_t size = options_.patch, stride = size - options_.overlap, steps = length < size ? 0 : (length - size) / stride + 1;
  if (steps < 1) throw ValueError("EegRecipe: patch=" + std::to_string(size) + " samples is longer than the window of " + std::to_string(length) + " samples");
  std::vector<std::size_t> channels;
  for (std::size_t c = 0; c < kept.size(); ++c)
    if (kept[c] != 0) channels.push_back(c);
  if (channels.size() < kept.size()) {
    std::vector<float> some;
    for (const auto c : channels) {
      const auto from = values.begin() + static_cast<std::int64_t>(c) * length;
      some.insert(some.end(), from, from + length);
    }
    values = std::move(some);
  }
  data::Patches patches;
  const auto rows = static_cast<std::int64_t>(channels.size());
  patches.key = {array.modality, {size}, 1};
  patches.count = rows * steps;
  patches.values = cut(std::move(values), rows, length, size, stride, steps);
  patches.extent = {static_cast<std::int32_t>(rows), static_cast<std::int32_t>(steps)};
  const auto n = static_cast<std::size_t>(patches.count);
  patches.coords.reserve(4 * n);
  patches.grid.reserve(2 * n);
  patches.extra.reserve(n);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto channel = channels[static_cast<std::size_t>(row)];
    const auto& place = space.positions[channel];
    for (std::int64_t t = 0; t < steps; ++t) {
      const double middle = (static_cast<double>(t * stride) + 0.5 * static_cast<double>(size)) / space.sfreq;
      patches.coords.insert(patches.coords.end(), {place[0], place[1], place[2], static_cast<float>(middle)});
      patches.grid.insert(patches.grid.end(), {static_cast<std::int32_t>(row), static_cast<std::int32_t>(t)});
      patches.extra.push_back(space.extra[channel]);
    }
  }
  return patches;
}

std::vector<data::View> EegRecipe::make(data::Sample sample, const Draw& draw) const {
  if (sample.arrays.size() != 1 || sample.arrays[0].shape.size() != 2 || !std::holds_alternative<data::ChannelSpace>(sample.arrays[0].space))
    throw ValueError("EegRecipe: needs a sample of one array [channels, time]");
  auto& array = sample.arrays[0];
  const auto& space = std::get<data::ChannelSpace>(array.space);
  auto& window = std::get<std::vector<float>>(array.values);
  const std::int64_t channels = array.shape[0], whole = array.shape[1];
  if (window.size() != static_cast<std::size_t>(channels * whole) || space.positions.size() != static_cast<std::size_t>(channels))
    throw ValueError("EegRecipe: the sample's values and positions must have " + std::to_string(channels) + " channels");
  const bool only = options_.views.size() == 1 && options_.views.front().count == 1;
  Philox random(draw, Stream::kSignal);
  data::ViewNumbers numbered;
  std::vector<data::View> views;
  for (const auto& how : options_.views) {
    const auto length = how.length > 0 ? how.length : whole;
    if (length > whole)
      throw ValueError("EegRecipe: view '" + how.role + "': length=" + std::to_string(length) + " samples is longer than the window of " +
                       std::to_string(whole) + " samples");
    for (std::int64_t i = 0; i < how.count; ++i) {
      // Views of one sample have masks of their own: each has its number in the draw. The first one's is the sample's.
      auto named = draw;
      named.index += static_cast<std::uint64_t>(views.size()) << 48;
      const auto first = length < whole ? random.below(static_cast<std::uint32_t>(whole - length + 1)) : 0;
      auto values = only && length == whole ? std::move(window) : part_of(window, whole, first, length);
      const auto plan = transforms::plan_signal(channels, length, space.sfreq, how.augmentation, random);
      transforms::apply_signal(plan, space.sfreq, channels, length, random, values.data());
      data::View view;
      view.role = how.role;
      view.number = numbered.next(how.role);
      if (options_.patch > 0) {
        auto tokens = patches(array, std::move(values), length, plan.kept);
        view.mask = masking::view_mask(how.mask, tokens.count, named, [&](const masking::MaskOptions& options) { return mask(tokens, options, named); });
        view.content = std::move(tokens);
      } else {
        const std::vector<std::int32_t> cells{static_cast<std::int32_t>((length + options_.mask_cell - 1) / options_.mask_cell)};
        view.mask = masking::view_mask(how.mask, cells[0], named, [&](const masking::MaskOptions& o) { return masking::grid_mask(o, cells, named); });
        view.content = data::Dense{array.modality, {channels, length}, std::move(values), {0.0}};
      }
      views.push_back(std::move(view));
      if (!how.mask.complementary) continue;
      views.insert(views.end() - 1, views.back());
      std::swap((views.end() - 2)->mask->visible, (views.end() - 2)->mask->masked);
    }
  }
  return views;
}

}  // namespace sslmed::eeg
