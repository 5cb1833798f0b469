#include "masking/mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::masking {
namespace {

// The numbers of the set bits of each byte, ascending.
struct ByteTable {
  std::array<std::array<std::uint8_t, 8>, 256> set{};
  constexpr ByteTable() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      unsigned n = 0;
      for (unsigned bit = 0; bit < 8; ++bit)
        if ((byte >> bit & 1) != 0) set[byte][n++] = static_cast<std::uint8_t>(bit);
    }
  }
};
constexpr ByteTable kBytes;

// Floyd's algorithm: `count` distinct numbers below n marked with 1, one draw each.
void choose(std::int64_t n, std::int64_t count, Philox& random, std::uint8_t* chosen) {
  for (std::int64_t j = n - count; j < n; ++j) {
    const auto t = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(j + 1)));
    chosen[t + ((j - t) & -static_cast<std::int64_t>(chosen[t]))] = 1;  // j where t is taken; a branch would be guessed wrong one time in four
  }
}

// The numbers of the marks that are 1, and of those that are 0, both ascending. Each eight marks write eight numbers, of
// which those beyond the count are overwritten by the next eight: both outputs need eight places more than they hold.
SSLMED_CLONES void divide(const std::uint8_t* marks, std::int64_t n, std::int64_t* ones, std::int64_t* zeros) {
  for (std::int64_t base = 0; base < n; base += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, marks + base, 8);
    const auto byte = static_cast<std::uint8_t>((eight * 0x0102040810204080ull) >> 56);  // the eight lowest bits, in order
    const auto& set = kBytes.set[byte];
    const auto& clear = kBytes.set[static_cast<std::uint8_t>(~byte)];
    for (int i = 0; i < 8; ++i) ones[i] = base + set[static_cast<std::size_t>(i)];
    for (int i = 0; i < 8; ++i) zeros[i] = base + clear[static_cast<std::size_t>(i)];
    const int count = std::popcount(byte);
    ones += count;
    zeros += 8 - count;
  }
}

}  // namespace

Mask all_visible(std::int64_t n_tokens) {
  Mask mask;
  mask.visible.resize(static_cast<std::size_t>(n_tokens));
  std::iota(mask.visible.begin(), mask.visible.end(), 0);
  return mask;
}

std::int64_t keep_count(std::int64_t n_tokens, double ratio) {
  if (n_tokens < 1 || n_tokens > (std::int64_t{1} << 31)) throw ValueError("a mask needs 1 to 2^31 tokens, got " + std::to_string(n_tokens));
  if (!(ratio > 0 && ratio < 1)) throw ValueError("a mask ratio must be within (0, 1), got " + std::to_string(ratio));
  const auto keep = static_cast<std::int64_t>(static_cast<double>(n_tokens) * (1 - ratio));
  if (keep == 0 || keep == n_tokens)
    throw ValueError("a mask ratio of " + std::to_string(ratio) + " keeps " + std::to_string(keep) + " of " + std::to_string(n_tokens) + " tokens");
  return keep;
}

void random_mask(std::int64_t n_tokens, std::int64_t keep, const Draw& draw, std::int64_t* keep_out, std::int64_t* masked_out, Stream stream) {
  thread_local std::vector<std::uint8_t> marks;
  thread_local std::vector<std::int64_t> numbers;
  marks.assign(static_cast<std::size_t>((n_tokens + 7) / 8 * 8), 0);
  numbers.resize(static_cast<std::size_t>(n_tokens + 24));
  const bool choose_kept = keep <= n_tokens - keep;  // the smaller side costs fewer draws
  const std::int64_t count = choose_kept ? keep : n_tokens - keep;
  Philox random(draw, stream, /*many=*/true);
  choose(n_tokens, count, random, marks.data());
  std::int64_t *ones = numbers.data(), *zeros = numbers.data() + count + 8;
  divide(marks.data(), n_tokens, ones, zeros);
  std::copy_n(choose_kept ? ones : zeros, keep, keep_out);
  std::copy_n(choose_kept ? zeros : ones, n_tokens - keep, masked_out);
}

Mask random_mask(std::int64_t n_tokens, std::int64_t keep, const Draw& draw) {
  if (keep < 0 || keep > n_tokens) throw ValueError("cannot keep " + std::to_string(keep) + " of " + std::to_string(n_tokens) + " tokens");
  std::vector<std::int64_t> kept(static_cast<std::size_t>(keep)), masked(static_cast<std::size_t>(n_tokens - keep));
  random_mask(n_tokens, keep, draw, kept.data(), masked.data());
  return {{kept.begin(), kept.end()}, {masked.begin(), masked.end()}, 1};
}

Mask bernoulli_mask(std::int64_t n_tokens, double ratio, const Draw& draw) {
  if (n_tokens < 2) throw ValueError("a mask of single tokens needs 2 at least, got " + std::to_string(n_tokens));
  if (!(ratio > 0 && ratio < 1)) throw ValueError("a mask ratio must be within (0, 1), got " + std::to_string(ratio));
  Philox random(draw, Stream::kMask, /*many=*/true);
  Mask mask;
  // A ratio near 0 or 1 may take many rounds; after so many, one token drawn at random changes sides.
  for (int round = 0; round < 100 && (mask.visible.empty() || mask.masked.empty()); ++round) {
    mask.visible.clear();
    mask.masked.clear();
    for (std::int64_t i = 0; i < n_tokens; ++i) (random.uniform() < ratio ? mask.masked : mask.visible).push_back(static_cast<std::int32_t>(i));
  }
  auto &empty = mask.visible.empty() ? mask.visible : mask.masked, &full = mask.visible.empty() ? mask.masked : mask.visible;
  if (empty.empty()) {
    const auto i = random.below(static_cast<std::uint32_t>(n_tokens));
    empty.push_back(full[i]);
    full.erase(full.begin() + i);
  }
  return mask;
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
  for (auto it = tokens.begin(); it != tokens.end(); ++it) (it < border ? mask.masked : mask.visible).push_back(it->second);
  std::sort(mask.visible.begin(), mask.visible.end());
  std::sort(mask.masked.begin(), mask.masked.end());
  return mask;
}

}  // namespace sslmed::masking
