#include "masking/mask.h"

#include <algorithm>
#include <bit>
#include <string>

#include "core/error.h"

namespace sslmed::masking {
namespace {

// Floyd's algorithm: `count` distinct numbers below n as bits, one draw each.
void choose(std::int64_t n, std::int64_t count, Philox& random, std::uint64_t* bits) {
  for (std::int64_t j = n - count; j < n; ++j) {
    const auto t = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(j + 1)));
    const std::int64_t pick = (bits[t >> 6] >> (t & 63) & 1u) != 0 ? j : t;
    bits[pick >> 6] |= std::uint64_t{1} << (pick & 63);
  }
}

}  // namespace

std::int64_t keep_count(std::int64_t n_tokens, double ratio) {
  if (n_tokens < 1 || n_tokens > (std::int64_t{1} << 31)) throw ValueError("a mask needs 1 to 2^31 tokens, got " + std::to_string(n_tokens));
  if (!(ratio > 0 && ratio < 1)) throw ValueError("a mask ratio must be within (0, 1), got " + std::to_string(ratio));
  const auto keep = static_cast<std::int64_t>(static_cast<double>(n_tokens) * (1 - ratio));
  if (keep == 0 || keep == n_tokens)
    throw ValueError("a mask ratio of " + std::to_string(ratio) + " keeps " + std::to_string(keep) + " of " + std::to_string(n_tokens) + " tokens");
  return keep;
}

void random_mask(std::int64_t n_tokens, std::int64_t keep, Philox& random, std::int64_t* keep_out, std::int64_t* masked_out) {
  thread_local std::vector<std::uint64_t> bits;
  bits.assign(static_cast<std::size_t>((n_tokens + 63) / 64), 0);
  const bool choose_kept = keep <= n_tokens - keep;  // the smaller side costs fewer draws
  choose(n_tokens, choose_kept ? keep : n_tokens - keep, random, bits.data());
  std::int64_t* chosen = choose_kept ? keep_out : masked_out;
  std::int64_t* others = choose_kept ? masked_out : keep_out;
  for (std::size_t word = 0; word < bits.size(); ++word) {
    const auto base = static_cast<std::int64_t>(word) * 64;
    const auto width = std::min<std::int64_t>(64, n_tokens - base);
    const std::uint64_t all = width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1;
    for (std::uint64_t left = bits[word]; left != 0; left &= left - 1) *chosen++ = base + std::countr_zero(left);
    for (std::uint64_t left = ~bits[word] & all; left != 0; left &= left - 1) *others++ = base + std::countr_zero(left);
  }
}

Mask random_mask(std::int64_t n_tokens, std::int64_t keep, const Draw& draw) {
  if (keep < 0 || keep > n_tokens) throw ValueError("cannot keep " + std::to_string(keep) + " of " + std::to_string(n_tokens) + " tokens");
  std::vector<std::int64_t> kept(static_cast<std::size_t>(keep)), masked(static_cast<std::size_t>(n_tokens - keep));
  Philox random(draw, Stream::kMask);
  random_mask(n_tokens, keep, random, kept.data(), masked.data());
  return {{kept.begin(), kept.end()}, {masked.begin(), masked.end()}};
}

Mask block_mask(const std::vector<std::int32_t>& axis, std::int64_t keep, std::int32_t block, const Draw& draw) {
  const auto n = static_cast<std::int64_t>(axis.size());
  if (keep < 1 || keep >= n) throw ValueError("cannot keep " + std::to_string(keep) + " of " + std::to_string(n) + " tokens");
  if (block < 1) throw ValueError("a block must be at least 1 long, got " + std::to_string(block));
  if (*std::min_element(axis.begin(), axis.end()) < 0) throw ValueError("axis numbers must not be negative");
  const std::int32_t extent = *std::max_element(axis.begin(), axis.end()) + 1;
  // A random offset moves the block borders, so that no pair of neighbours is always masked together.
  Philox random(draw, Stream::kMask);
  const auto offset = static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(block)));
  const auto n_blocks = static_cast<std::uint32_t>((extent - 1 + offset) / block + 1);
  std::vector<std::uint32_t> order(n_blocks);
  for (std::uint32_t i = 0; i < n_blocks; ++i) order[i] = i;
  for (std::uint32_t i = n_blocks; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  std::vector<std::uint32_t> rank(n_blocks);
  for (std::uint32_t i = 0; i < n_blocks; ++i) rank[order[i]] = i;
  // Tokens in the order in which their blocks are masked; within the last, partly masked block in a random order.
  std::vector<std::pair<std::uint64_t, std::int32_t>> tokens;
  tokens.reserve(axis.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const auto b = static_cast<std::size_t>((axis[static_cast<std::size_t>(i)] + offset) / block);
    tokens.emplace_back(static_cast<std::uint64_t>(rank[b]) << 32 | random.next_u32(), static_cast<std::int32_t>(i));
  }
  const auto border = tokens.begin() + (n - keep);
  std::nth_element(tokens.begin(), border, tokens.end());
  Mask mask;
  for (auto it = tokens.begin(); it != tokens.end(); ++it) (it < border ? mask.masked : mask.keep).push_back(it->second);
  std::sort(mask.keep.begin(), mask.keep.end());
  std::sort(mask.masked.begin(), mask.masked.end());
  return mask;
}

}  // namespace sslmed::masking
