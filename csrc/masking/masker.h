#pragma once
// What a recipe is told of masks, and the masks of a view on a regular grid.

#include <optional>
#include <utility>
#include <vector>

#include "masking/mask.h"

namespace sslmed::masking {

enum class Mode {
  kNone,
  kRandom,     // an exact number of single tokens
  kBernoulli,  // each token by itself
  kTime,       // blocks along the grid's last axis
  kChannel,    // blocks along its first axis
  kSpace,      // blocks of neighbours in space over some steps
  kMultiblock,
  kMultiblockExact,
  kBlock,  // rectangles of random areas and aspects (masking/blockwise_mask.h)
};

inline bool is_multiblock(Mode mode) { return mode == Mode::kMultiblock || mode == Mode::kMultiblockExact; }

struct MaskOptions {
  Mode mode = Mode::kNone;
  double ratio = 0.5;      // of the tokens masked; not with multi-block masks
  std::int32_t block = 2;  // steps (kTime, kSpace) or rows (kChannel) that are masked together
  double radius = 30;      // mm from its centre to which a block reaches (kSpace)
  // A second view of each sample, which sees what the first one hides: every token is both seen and restored.
  bool complementary = false;
  double ratio_high = 0;  // above 0: the ratio of each mask is drawn from [ratio, ratio_high]
  double p_mask = 1;      // probability that anything is masked of a sample; otherwise its mask leaves all tokens visible
};

// ValueError that names the parameter and `where` it was given.
void check(const MaskOptions& options, const char* where);

// The options of one mask: its ratio drawn, and the mode kNone where the draw leaves the sample whole. Options of which nothing is random stay as they are.
MaskOptions drawn(const MaskOptions& options, const Draw& draw);

// The mask of a view of n tokens, made by mask_of(drawn options); none with the mode kNone.
template <class F>
std::optional<Mask> view_mask(const MaskOptions& options, std::int64_t n, const Draw& draw, F&& mask_of) {
  if (options.mode == Mode::kNone) return std::nullopt;
  const auto how = drawn(options, draw);
  if (how.mode == Mode::kNone) return all_visible(n);
  return std::forward<F>(mask_of)(how);
}

// The mask of a grid of `extent` cells, row-major, for the modes that need no places: all but kSpace. ValueError for multi-block masks of other grids than
// those of two axes, and for rectangles on a single axis.
Mask grid_mask(const MaskOptions& options, const std::vector<std::int32_t>& extent, const Draw& draw);

}  // namespace sslmed::masking
