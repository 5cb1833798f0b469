#include "masking/masker.h"

#include <cmath>
#include <numeric>
#include <string>

#include "core/error.h"
#include "masking/blockwise_mask.h"
#include "masking/multiblock_mask.h"

namespace sslmed::masking {

void check(const MaskOptions& options, const char* where) {
  const std::string at = where;
  const bool exact = options.mode != Mode::kNone && !is_multiblock(options.mode);
  if (exact && !(options.ratio > 0 && options.ratio < 1))
    throw ValueError(at + ": ratio=" + std::to_string(options.ratio) + " must be within (0, 1): the part of the tokens that is masked");
  if (options.ratio_high != 0 && !(options.ratio_high >= options.ratio && options.ratio_high < 1))
    throw ValueError(at + ": ratio=(" + std::to_string(options.ratio) + ", " + std::to_string(options.ratio_high) +
                     ") must be 0 < lowest <= highest < 1: the part of the tokens that is masked");
  if (options.ratio_high != 0 && is_multiblock(options.mode))
    throw ValueError(at + ": ratio must be left out with a multi-block mask, whose blocks have sizes of their own");
  if (!(options.p_mask >= 0 && options.p_mask <= 1)) throw ValueError(at + ": p_mask=" + std::to_string(options.p_mask) + " must be within [0, 1]");
  if (options.complementary && options.p_mask < 1)
    throw ValueError(at + ": complementary=True needs p_mask=1: a sample without a mask has nothing that the other view could show");
  if (options.block < 1) throw ValueError(at + ": block=" + std::to_string(options.block) + " must be at least 1");
  if (!(options.radius >= 0) || !std::isfinite(options.radius)) throw ValueError(at + ": radius=" + std::to_string(options.radius) + " must not be negative");
  if (options.complementary && !exact) throw ValueError(at + ": complementary=True needs a mask of single tokens or blocks, not 'none' or a multi-block mask");
}

MaskOptions drawn(const MaskOptions& options, const Draw& draw) {
  auto out = options;
  if (options.mode == Mode::kNone || (options.ratio_high <= 0 && options.p_mask >= 1)) return out;
  Philox random(draw, Stream::kMaskRatio);
  if (random.uniform() >= options.p_mask) out.mode = Mode::kNone;
  if (options.ratio_high > 0) out.ratio = options.ratio + (options.ratio_high - options.ratio) * random.uniform();
  out.ratio_high = 0;
  out.p_mask = 1;
  return out;
}

Mask grid_mask(const MaskOptions& options, const std::vector<std::int32_t>& extent, const Draw& draw) {
  std::int64_t n = 1;
  for (const auto cells : extent) n *= cells;
  if (is_multiblock(options.mode)) {
    if (extent.size() != 2) throw ValueError("multi-block masks need a grid of two axes, got " + std::to_string(extent.size()));
    const auto placement = options.mode == Mode::kMultiblockExact ? Placement::kExact : Placement::kUnbiased;
    return MultiblockMask(extent[0], extent[1], placement, {draw.seed, draw.epoch, draw.batch}).draw(draw);
  }
  if (options.mode == Mode::kBernoulli) return bernoulli_mask(n, options.ratio, draw);
  const auto visible = keep_count(n, options.ratio);
  if (options.mode == Mode::kRandom) return random_mask(n, visible, draw);
  if (options.mode == Mode::kBlock) {
    std::vector<std::int64_t> cells(static_cast<std::size_t>(n));
    std::iota(cells.begin(), cells.end(), 0);
    return blockwise_mask(extent, cells, visible, draw);
  }
  if (options.mode != Mode::kTime && options.mode != Mode::kChannel) throw ValueError("this mask needs places in space");
  const std::int64_t steps = options.mode == Mode::kTime ? 1 : n / extent.front();
  std::vector<std::int32_t> axis(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i)
    axis[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(options.mode == Mode::kTime ? i % extent.back() : i / steps);
  return block_mask(axis, visible, options.block, draw);
}

}  // namespace sslmed::masking
