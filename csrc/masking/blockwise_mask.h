#pragma once
// Rectangles of random areas and aspects on a grid of tokens, until enough is hidden: the masks of BEiT (Bao et al.,
// arXiv 2106.08254), iBOT (arXiv 2111.07832) and DINOv2 (arXiv 2304.07193), in any rank from two axes on.

#include <cstdint>
#include <vector>

#include "masking/mask.h"

namespace sslmed::masking {

struct BlockwiseOptions {
  double aspect[2] = {0.3, 3.3};  // range of the quotient of a block's sides along two axes, the earlier axis first
  std::int64_t min_cells = 4;     // a block is drawn to have this area at least
  int tries = 10;                 // for each block; where none fits, single tokens drawn at random fill what is left
};

// Tokens at the cells [n] of a grid of `extent` cells (row-major numbers; those that are not listed hold no token), of
// which all but `keep` are hidden. A block's area is drawn from [min_cells, what is still to be hidden], its place from all
// places within the grid. ValueError for a grid of fewer than two axes, a cell outside of it, or a number of visible tokens
// outside of 1 … n - 1.
Mask blockwise_mask(const std::vector<std::int32_t>& extent, const std::vector<std::int64_t>& cells, std::int64_t keep, const Draw& draw,
                    const BlockwiseOptions& options = {});

}  // namespace sslmed::masking
