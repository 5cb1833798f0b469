#pragma once
// Which tokens an encoder sees. Exact counts; ascending indices; a pure function of the draw.

#include <cstdint>
#include <vector>

#include "core/random.h"

namespace sslmed::masking {

// Token numbers. Ascending, and together [0, n) once; with several target blocks: block after block, each and the visible ones in their grid's order.
struct Mask {
  std::vector<std::int32_t> visible, masked;
  std::int32_t blocks = 1;  // equal parts that `masked` consists of
};

// Nothing hidden of n tokens.
Mask all_visible(std::int64_t n_tokens);

// int(n * (1 - ratio)), MAE's count. ValueError when it is 0 or n, or ratio is outside (0, 1): nothing to see, or nothing to learn.
std::int64_t keep_count(std::int64_t n_tokens, double ratio);

// A uniformly random subset of `keep` tokens (He et al., arXiv 2111.06377).
void random_mask(std::int64_t n_tokens, std::int64_t keep, const Draw& draw, std::int64_t* keep_out, std::int64_t* masked_out, Stream stream = Stream::kMask);
Mask random_mask(std::int64_t n_tokens, std::int64_t keep, const Draw& draw);

// Each token masked with probability `ratio`, by itself (CBraMod); drawn again until at least one is kept and one masked.
Mask bernoulli_mask(std::int64_t n_tokens, double ratio, const Draw& draw);

// Masks whole blocks along one axis of a token set: `axis` [n] is each token's time step (or channel) number. Blocks of
// `block` consecutive numbers are masked in random order until all but `keep` tokens are; the last block is masked in part.
Mask block_mask(const std::vector<std::int32_t>& axis, std::int64_t keep, std::int32_t block, const Draw& draw);

}  // namespace sslmed::masking
