#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/philox.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sslmed {
namespace {

// splitmix64's finaliser: spreads (seed, epoch, stream) over the 64 key bits.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr unsigned kBlocks = Philox::kBlocks;

// kBlocks consecutive blocks; out[4 * i ...] is block first + i.
void philox_blocks(std::uint64_t first, std::uint64_t index, std::array<std::uint32_t, 2> key, std::uint32_t* out) {
  for (unsigned i = 0; i < kBlocks; ++i) {
    const std::uint64_t block = first + i;
    const auto words = philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), static_cast<std::uint32_t>(index),
                                   static_cast<std::uint32_t>(index >> 32)},
                                  key);
    std::copy(words.begin(), words.end(), out + 4 * i);
  }
}

#if defined(__x86_64__)
// Four blocks a register, four registers side by side to hide the latency of the products. A product reads the lower half
// of each 64-bit place only, so what is left in the upper half does no harm. By hand: compilers do not find this instruction.
__attribute__((target("avx2"), always_inline)) inline void philox_blocks_256(std::uint64_t first, std::uint64_t index, std::array<std::uint32_t, 2> key,
                                                                             std::uint32_t* out) {
  constexpr unsigned kRegisters = kBlocks / 4;
  __m256i c0[kRegisters], c1[kRegisters], c2[kRegisters], c3[kRegisters];
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  for (unsigned r = 0; r < kRegisters; ++r) {
    c0[r] = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(first + 4 * r)), _mm256_set_epi64x(3, 2, 1, 0));
    c1[r] = _mm256_srli_epi64(c0[r], 32);
    c2[r] = _mm256_set1_epi64x(static_cast<long long>(index & 0xffffffff));
    c3[r] = _mm256_set1_epi64x(static_cast<long long>(index >> 32));
  }
  for (int round = 0; round < 10; ++round) {
    const __m256i k0 = _mm256_set1_epi64x(key[0]), k1 = _mm256_set1_epi64x(key[1]);
    for (unsigned r = 0; r < kRegisters; ++r) {
      const __m256i p0 = _mm256_mul_epu32(m0, c0[r]), p1 = _mm256_mul_epu32(m1, c2[r]);
      c0[r] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[r], k0));
      c1[r] = p1;
      c2[r] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[r], k1));
      c3[r] = p0;
    }
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  for (unsigned r = 0; r < kRegisters; ++r) {
    const __m256i low = _mm256_blend_epi32(c0[r], _mm256_slli_epi64(c1[r], 32), 0xaa);   // words 0 and 1 of each block
    const __m256i high = _mm256_blend_epi32(c2[r], _mm256_slli_epi64(c3[r], 32), 0xaa);  // words 2 and 3
    const __m256i even = _mm256_unpacklo_epi64(low, high), odd = _mm256_unpackhi_epi64(low, high);
    auto* into = reinterpret_cast<__m256i*>(out + 16 * r);
    _mm256_storeu_si256(into, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(into + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}

__attribute__((target("avx2"))) void philox_blocks_avx2(std::uint64_t first, std::uint64_t index, std::array<std::uint32_t, 2> key, std::uint32_t* out) {
  philox_blocks_256(first, index, key, out);
}

// The same with twice as many registers, in which all of it fits.
__attribute__((target("avx2,avx512f,avx512vl"))) void philox_blocks_avx512(std::uint64_t first, std::uint64_t index, std::array<std::uint32_t, 2> key,
                                                                           std::uint32_t* out) {
  philox_blocks_256(first, index, key, out);
}
#endif

using Blocks = void (*)(std::uint64_t, std::uint64_t, std::array<std::uint32_t, 2>, std::uint32_t*);
Blocks choose_blocks() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vl")) return philox_blocks_avx512;
  if (__builtin_cpu_supports("avx2")) return philox_blocks_avx2;
#endif
  return philox_blocks;
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  std::uint32_t words[4] = {counter[0], counter[1], counter[2], counter[3]};
  philox_rounds(words, key[0], key[1]);
  return {words[0], words[1], words[2], words[3]};
}

void philox_words(std::uint64_t first_block, std::uint64_t index, std::array<std::uint32_t, 2> key, std::uint32_t* out) {
  static const Blocks blocks = choose_blocks();
  blocks(first_block, index, key, out);
}

Philox::Philox(const Draw& draw, Stream stream, bool many) : index_(draw.index) {
  const std::uint64_t key = mix(mix(mix(draw.seed) ^ draw.epoch) ^ static_cast<std::uint64_t>(stream));
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
  if (many) fill();
}

void Philox::refill() {
  if (next_block_ == 0) {
    const auto block = philox4x32({0, 0, static_cast<std::uint32_t>(index_), static_cast<std::uint32_t>(index_ >> 32)}, key_);
    std::copy(block.begin(), block.end(), words_.begin());
    next_block_ = 1;
    size_ = 4;
    used_ = 0;
  } else {
    fill();
  }
}

void Philox::fill() {
  philox_words(next_block_, index_, key_, words_.data());
  next_block_ += kBlocks;
  size_ = 4 * kBlocks;
  used_ = 0;
}

double Philox::normal() {
  const double u = 1.0 - uniform();  // (0, 1], so that the logarithm is finite
  const double v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
}

Shuffle::Shuffle(std::uint64_t n, const Draw& draw, Stream stream) : n_(n) {
  Philox random(draw, stream);
  for (auto& key : keys_) key = random.next_u32();
  while (half_ < 32 && (std::uint64_t{1} << (2 * half_)) < n) ++half_;
  mask_ = (std::uint64_t{1} << half_) - 1;
}

std::uint64_t Shuffle::operator()(std::uint64_t i) const {
  do {
    std::uint64_t left = i >> half_, right = i & mask_;
    for (const auto key : keys_) {
      std::uint64_t mixed = (right + key) * 0x9e3779b97f4a7c15u;  // SplitMix64's finaliser as the round function
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
      mixed ^= mixed >> 31;
      left = std::exchange(right, (left ^ mixed) & mask_);
    }
    i = left << half_ | right;
  } while (i >= n_);
  return i;
}

}  // namespace sslmed
