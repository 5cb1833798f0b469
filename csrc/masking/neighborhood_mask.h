#pragma once
// I-JEPA's blocks (Assran et al., arXiv 2301.08243) for tokens that fill no rectangle: the anatomy of a volume. A block is
// the tokens nearest to a place, so that all blocks of a sample have one size wherever they lie.

#include "masking/mask.h"

namespace sslmed::masking {

struct NeighborhoodOptions {
  double target_scale[2] = {0.15, 0.2}, target_aspect[2] = {0.75, 1.5}, context_scale[2] = {0.85, 1.0};
  std::int64_t targets = 4;
  std::int64_t min_context = 10;  // a context has more tokens than this; of less than 80 tokens, than an eighth of them
};

// Tokens at coords [n, 4] (x, y, z in mm; t is not looked at). `batch` names the draw of the blocks' shares, which a batch
// has in common. ValueError for fewer than 8 tokens, or where no context is left in many tries.
Mask neighborhood_mask(const float* coords, std::int64_t n, const Draw& draw, const Draw& batch, const NeighborhoodOptions& options = {});

}  // namespace sslmed::masking
