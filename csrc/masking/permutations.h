#pragma once
// Orders of tiles for jigsaw puzzles: a few that differ from each other in as many places as possible.

#include <cstdint>
#include <vector>

namespace sslmed::masking {

// `count` different orders of [0, tiles). The first is drawn by `seed`; each of the others is the one with the largest mean
// Hamming distance to those before it (Noroozi and Favaro, arXiv 1603.09246), the first in the pool among equals. The pool
// holds all orders in lexicographic order where they are at most 50,000, otherwise 50,000 that are drawn by `seed`.
// ValueError where there are not so many.
std::vector<std::vector<std::int32_t>> distant_permutations(std::int32_t tiles, std::int64_t count, std::uint64_t seed);

}  // namespace sslmed::masking
