#pragma once
// Masks of regions of a head over a stretch of time: neighbouring electrodes tell each other's signal, so single tokens are too easy
// to restore (El Ouahidi et al., REVE, arXiv 2510.21585).

#include "masking/mask.h"

namespace sslmed::masking {

// Tokens of an array in space: [n, 4] x, y, z, t and [n, 2] row, step of each.
struct Places {
  const float* coords;  // NaN x where unknown: such a token is hidden with its own row alone
  const std::int32_t* grid;
  std::int64_t n;
};

// Hides blocks, each of the tokens within `radius` (in the unit of the coordinates) of a randomly drawn token's row, over `block`
// consecutive steps around its step, until all but `keep` are hidden; the last block is hidden in part, at random.
Mask space_mask(const Places& places, std::int64_t keep, double radius, std::int32_t block, const Draw& draw);

}  // namespace sslmed::masking
