#include "data/patch_recipe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "masking/mask.h"
#include "masking/multiblock_mask.h"
#include "masking/space_mask.h"

namespace sslmed::data {
PatchRecipe::PatchRecipe(const PatchRecipeOptions& options) : options_(options) {
  if (options.patch < 2) throw ValueError("a patch needs at least 2 samples, got " + std::to_string(options.patch));
  if (options.overlap < 0 || options.overlap >= options.patch)
    throw ValueError("patches of " + std::to_string(options.patch) + " samples overlap by fewer, not by " + std::to_string(options.overlap));
  if (options.mask != MaskMode::kNone && !is_multiblock(options.mask) && !(options.ratio > 0 && options.ratio < 1))
    throw ValueError("a mask ratio must be within (0, 1), got " + std::to_string(options.ratio));
  if (options.complementary && (options.mask == MaskMode::kNone || is_multiblock(options.mask)))
    throw ValueError("complementary masks are for masks of single tokens and blocks of them, not for none or multi-block ones");
}

void PatchRecipe::multiblock(PatchView& view, const ElectrodeSpace& space, std::int64_t steps, const Draw& draw) const {
  const std::int64_t channels = view.count / steps;
  std::vector<std::int32_t> order(static_cast<std::size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto &p = space.positions[static_cast<std::size_t>(a)], &q = space.positions[static_cast<std::size_t>(b)];
    const bool known = std::isfinite(p[1]), other = std::isfinite(q[1]);
    if (!known || !other) return known && !other;  // electrodes of unknown place come last
    return p[1] != q[1] ? p[1] > q[1] : p[0] < q[0];
  });
  const auto placement = options_.mask == MaskMode::kMultiblockExact ? masking::Placement::kExact : masking::Placement::kUnbiased;
  const masking::MultiblockMask mask(channels, steps, placement, {draw.seed, draw.epoch, draw.batch});
  auto drawn = mask.draw(draw);
  const auto row_of = [&](std::int32_t cell) { return static_cast<std::int32_t>(order[static_cast<std::size_t>(cell / steps)] * steps + cell % steps); };
  for (auto* rows : {&drawn.keep, &drawn.masked})
    for (auto& cell : *rows) cell = row_of(cell);
  view.keep = std::move(drawn.keep);
  view.masked = std::move(drawn.masked);
  view.blocks = static_cast<std::int32_t>(mask.targets());
}

std::vector<PatchView> PatchRecipe::make(Sample sample, const Draw& draw) const {
  if (sample.shape.size() != 2 || sample.values.size() != static_cast<std::size_t>(sample.shape[0] * sample.shape[1]) ||
      sample.space.positions.size() != static_cast<std::size_t>(sample.shape[0]))
    throw ValueError("this recipe takes signals [channels, time]");
  const std::int64_t channels = sample.shape[0], length = sample.shape[1], stride = options_.patch - options_.overlap,
                     steps = length < options_.patch ? 0 : (length - options_.patch) / stride + 1;
  if (steps < 1) throw ValueError("a window of " + std::to_string(length) + " samples holds no patch of " + std::to_string(options_.patch));
  PatchView view;
  view.embedding = options_.patch;
  view.patch = options_.patch;
  view.count = channels * steps;
  const auto n = static_cast<std::size_t>(view.count);
  if (options_.overlap == 0 && steps * options_.patch == length) {
    view.values = std::move(sample.values);  // channel after channel is already patch after patch
  } else {
    view.values.reserve(static_cast<std::size_t>(view.count * options_.patch));
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t t = 0; t < steps; ++t) {
        const auto from = sample.values.begin() + c * length + t * stride;
        view.values.insert(view.values.end(), from, from + options_.patch);
      }
    }
  }
  view.coords.reserve(4 * n);
  view.grid.reserve(2 * n);
  view.extra.reserve(n);
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto& place = sample.space.positions[static_cast<std::size_t>(c)];
    for (std::int64_t t = 0; t < steps; ++t) {
      const double middle = (static_cast<double>(t * stride) + 0.5 * static_cast<double>(options_.patch)) / sample.space.sfreq;
      view.coords.insert(view.coords.end(), {place[0], place[1], place[2], static_cast<float>(middle)});
      view.grid.insert(view.grid.end(), {static_cast<std::int32_t>(c), static_cast<std::int32_t>(t)});
      view.extra.push_back(sample.space.extra[static_cast<std::size_t>(c)]);
    }
  }
  if (is_multiblock(options_.mask)) {
    multiblock(view, sample.space, steps, draw);
  } else if (options_.mask != MaskMode::kNone) {
    masking::Mask mask;
    const auto keep = options_.mask == MaskMode::kBernoulli ? 0 : masking::keep_count(view.count, options_.ratio);
    if (options_.mask == MaskMode::kBernoulli) {
      mask = masking::bernoulli_mask(view.count, options_.ratio, draw);
    } else if (options_.mask == MaskMode::kRandom) {
      mask = masking::random_mask(view.count, keep, draw);
    } else if (options_.mask == MaskMode::kSpace) {
      mask = masking::space_mask({view.coords.data(), view.grid.data(), view.count}, keep, options_.radius, options_.block, draw);
    } else {
      std::vector<std::int32_t> axis(n);
      for (std::size_t i = 0; i < n; ++i) axis[i] = view.grid[2 * i + (options_.mask == MaskMode::kTime ? 1 : 0)];
      mask = masking::block_mask(axis, keep, options_.block, draw);
    }
    view.keep = std::move(mask.keep);
    view.masked = std::move(mask.masked);
  }
  std::vector<PatchView> views;
  if (options_.complementary) {
    views.push_back(view);
    std::swap(views.back().keep, views.back().masked);
  }
  views.push_back(std::move(view));
  return views;
}

}  // namespace sslmed::data
