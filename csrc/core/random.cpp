#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/simd.h"

namespace sslmed {
namespace {

// splitmix64's finaliser: spreads (seed, epoch, stream) over the 64 key bits.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr unsigned n = 16;
// `n` consecutive blocks, each word of all of them in one loop, which the compiler turns into vector code.
SSLMED_CLONES void philox_blocks(std::uint64_t first, std::uint32_t low, std::uint32_t high, std::uint32_t key0, std::uint32_t key1, std::uint32_t* out) {
  std::uint32_t c0[n], c1[n], c2[n], c3[n];
  for (unsigned i = 0; i < n; ++i) {
    c0[i] = static_cast<std::uint32_t>(first + i);
    c1[i] = static_cast<std::uint32_t>((first + i) >> 32);
    c2[i] = low;
    c3[i] = high;
  }
  for (int round = 0; round < 10; ++round) {
    for (unsigned i = 0; i < n; ++i) {
      const std::uint64_t p0 = 0xD2511F53ull * c0[i], p1 = 0xCD9E8D57ull * c2[i];
      c0[i] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[i] ^ key0;
      c1[i] = static_cast<std::uint32_t>(p1);
      c2[i] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[i] ^ key1;
      c3[i] = static_cast<std::uint32_t>(p0);
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (unsigned i = 0; i < n; ++i) {
    out[4 * i] = c0[i];
    out[4 * i + 1] = c1[i];
    out[4 * i + 2] = c2[i];
    out[4 * i + 3] = c3[i];
  }
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * counter[0];
    const std::uint64_t p1 = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

Philox::Philox(const Draw& draw, Stream stream) : index_(draw.index) {
  const std::uint64_t key = mix(mix(mix(draw.seed) ^ draw.epoch) ^ static_cast<std::uint64_t>(stream));
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

void Philox::refill() {
  const auto low = static_cast<std::uint32_t>(index_), high = static_cast<std::uint32_t>(index_ >> 32);
  if (next_block_ == 0) {
    const auto block = philox4x32({0, 0, low, high}, key_);
    std::copy(block.begin(), block.end(), words_.begin());
    next_block_ = 1;
    size_ = 4;
  } else {
    static_assert(kBlocks == n);
    philox_blocks(next_block_, low, high, key_[0], key_[1], words_.data());
    next_block_ += kBlocks;
    size_ = 4 * kBlocks;
  }
  used_ = 0;
}

double Philox::normal() {
  const double u = 1.0 - uniform();  // (0, 1], so that the logarithm is finite
  const double v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
}

std::vector<std::uint32_t> permutation(std::uint32_t n, const Draw& draw, Stream stream) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  Philox random(draw, stream);
  for (std::uint32_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace sslmed
