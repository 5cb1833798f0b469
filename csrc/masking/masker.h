#pragma once
// What a recipe is told of masks, and the masks of a view on a regular grid.

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
};

inline bool is_multiblock(Mode mode) { return mode == Mode::kMultiblock || mode == Mode::kMultiblockExact; }

struct MaskOptions {
  Mode mode = Mode::kNone;
  double ratio = 0.5;      // of the tokens masked; not with multi-block masks
  std::int32_t block = 2;  // steps (kTime, kSpace) or rows (kChannel) that are masked together
  double radius = 30;      // mm from its centre to which a block reaches (kSpace)
  // A second view of each sample, which sees what the first one hides: every token is both seen and restored.
  bool complementary = false;
};

// ValueError that names the parameter and `where` it was given.
void check(const MaskOptions& options, const char* where);

// The mask of a grid of `extent` cells, row-major, for the modes that need no places: all but kSpace. Multi-block masks are for two axes: ValueError.
Mask grid_mask(const MaskOptions& options, const std::vector<std::int32_t>& extent, const Draw& draw);

}  // namespace sslmed::masking
