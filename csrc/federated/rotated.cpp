// Codecs of rotated blocks. "hadamard": uniform levels between the least and the largest value, stochastically rounded
// (Suresh, Yu, Kumar and McMahan, ICML 2017). "drive": signs and a scale (Vargaftik et al., NeurIPS 2021).

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "core/simd.h"
#include "federated/draws.h"
#include "federated/hadamard.h"
#include "federated/methods.h"
#include "federated/packing.h"
#include "federated/rounding.h"

namespace sslmed::federated {
namespace {

typedef float Eight __attribute__((vector_size(32)));

// A block that arrives is turned back within float32 if its length is.
constexpr double kLargest = std::numeric_limits<float>::max();

struct Extent {
  float low, high;
};

// n: a multiple of 8.
SSLMED_CLONES void extent_of(const float* values, std::size_t n, Extent* out) {
  Eight low, high;
  std::memcpy(&low, values, sizeof low);
  high = low;
  for (std::size_t i = 8; i < n; i += 8) {
    Eight v;
    std::memcpy(&v, values + i, sizeof v);
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  *out = {low[0], high[0]};
  for (int j = 1; j < 8; ++j) *out = {std::min(out->low, low[j]), std::max(out->high, high[j])};
}

struct Norms {
  double first, squared;  // sum of magnitudes, sum of squares
};

// n: a multiple of 8. Eight lanes: the order is the same on every processor.
SSLMED_CLONES void norms_of(const float* values, std::size_t n, Norms* out) {
  double first[8] = {}, squared[8] = {};
  for (std::size_t i = 0; i < n; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      const double v = values[i + j];
      first[j] += std::fabs(v);
      squared[j] += v * v;
    }
  }
  *out = {((first[0] + first[4]) + (first[1] + first[5])) + ((first[2] + first[6]) + (first[3] + first[7])),
          ((squared[0] + squared[4]) + (squared[1] + squared[5])) + ((squared[2] + squared[6]) + (squared[3] + squared[7]))};
}

SSLMED_CLONES void round_values(float lowest, const float* values, const std::uint32_t* words, std::size_t n, float step, int top, std::uint8_t* codes) {
  round_from(lowest, values, words, n, step, top, codes);
}

SSLMED_CLONES void restore(const std::uint8_t* codes, std::size_t n, float lowest, float step, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = lowest + static_cast<float>(static_cast<int>(codes[i])) * step;
}

SSLMED_CLONES void signs_of(const float* values, std::size_t n, std::uint8_t* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(values[i]) >> 31 ^ 1);
}

// One place for the layout: block b has `padded` rotated values, `count` of the tensor's.
struct Blocks {
  explicit Blocks(const Spec& spec) : n(spec.n), size(spec.parameter), number(chunks_of(n, size)), bits(spec.bits) {}

  std::uint64_t count(std::uint64_t b) const { return std::min(size, n - b * size); }
  std::uint64_t padded(std::uint64_t b) const { return std::max<std::uint64_t>(8, std::bit_ceil(count(b))); }
  std::uint64_t offset(std::uint64_t b) const { return b * (size / 8 * bits); }
  std::int64_t grain() const { return static_cast<std::int64_t>(std::max<std::uint64_t>(1, 64 * kChunk / size)); }

  std::uint64_t n, size, number;
  unsigned bits;
};

// Codes and draws of a block, piece by piece.
struct Scratch {
  alignas(64) float rotated[kMostRotated];
  std::uint32_t words[kChunk];
  std::uint8_t codes[kChunk];
};

Fault encode_uniform(const Blocks& blocks, std::uint64_t seed, std::uint64_t b, std::uint64_t d, Scratch& scratch, std::uint8_t* scale, std::uint8_t* packed) {
  const int top = (1 << blocks.bits) - 1;
  Extent extent{};
  extent_of(scratch.rotated, d, &extent);
  const double range = static_cast<double>(extent.high) - extent.low;
  const float step = round_up(range / top);
  const double most = std::max(-static_cast<double>(extent.low), extent.low + static_cast<double>(step) * top);
  if (range > kLargest || most * std::sqrt(static_cast<double>(d)) > kLargest) return Fault::kTooLarge;
  std::memcpy(scale, &extent.low, sizeof(float));
  std::memcpy(scale + sizeof(float), &step, sizeof(float));
  Words draws(seed, Purpose::kRounding, b);
  for (std::uint64_t at = 0; at < d; at += kChunk) {
    const auto some = std::min(kChunk, d - at);
    draws.take(scratch.words, some);
    if (step == 0) {
      std::memset(scratch.codes, 0, some);
    } else {
      round_values(extent.low, scratch.rotated + at, scratch.words, some, step, top, scratch.codes);
    }
    pack(scratch.codes, some, blocks.bits, packed + at / 8 * blocks.bits);
  }
  return Fault::kNone;
}

Fault encode_signs(std::uint64_t d, bool least_error, Scratch& scratch, std::uint8_t* where, std::uint8_t* packed) {
  Norms norms{};
  norms_of(scratch.rotated, d, &norms);
  const double exact = norms.first == 0 ? 0 : least_error ? norms.first / static_cast<double>(d) : norms.squared / norms.first;
  const auto scale = static_cast<float>(exact);
  if (exact * std::sqrt(static_cast<double>(d)) > kLargest) return Fault::kTooLarge;
  std::memcpy(where, &scale, sizeof scale);
  for (std::uint64_t at = 0; at < d; at += kChunk) {
    const auto some = std::min(kChunk, d - at);
    signs_of(scratch.rotated + at, some, scratch.codes);
    pack(scratch.codes, some, 1, packed + at / 8);
  }
  return Fault::kNone;
}

std::size_t scale_size(const Spec& spec) { return spec.method == Method::kHadamard ? 2 * sizeof(float) : sizeof(float); }

}  // namespace

Fault encode_rotated(const Spec& spec, const float* values, bool least_error, std::uint8_t* payload, unsigned threads) {
  const Blocks blocks(spec);
  const auto each = scale_size(spec);
  std::uint8_t* const packed = payload + blocks.number * each;
  Faults faults;
  divide(static_cast<std::int64_t>(blocks.number), blocks.grain(), threads, [&](std::int64_t begin, std::int64_t end) {
    Scratch scratch;
    for (auto b = static_cast<std::uint64_t>(begin); b < static_cast<std::uint64_t>(end); ++b) {
      const float* const block = values + b * blocks.size;
      const auto d = blocks.padded(b);
      if (largest_magnitude(block, blocks.count(b)) >= kInfinity) return faults.note(Fault::kNotFinite);
      rotate(block, blocks.count(b), spec.seed, b, scratch.rotated, d);
      if (largest_magnitude(scratch.rotated, d) >= kInfinity) return faults.note(Fault::kTooLarge);
      std::uint8_t *const scale = payload + b * each, *const codes = packed + blocks.offset(b);
      const auto fault = spec.method == Method::kHadamard ? encode_uniform(blocks, spec.seed, b, d, scratch, scale, codes)
                                                          : encode_signs(d, least_error, scratch, scale, codes);
      if (fault != Fault::kNone) return faults.note(fault);
    }
  });
  return faults.found();
}

void decode_rotated(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads) {
  const Blocks blocks(spec);
  const bool uniform = spec.method == Method::kHadamard;
  const auto each = scale_size(spec);
  const std::uint8_t* const packed = payload + blocks.number * each;
  std::atomic<bool> odd_scale{false}, too_large{false};
  divide(static_cast<std::int64_t>(blocks.number), blocks.grain(), threads, [&](std::int64_t begin, std::int64_t end) {
    Scratch scratch;
    for (auto b = static_cast<std::uint64_t>(begin); b < static_cast<std::uint64_t>(end); ++b) {
      float scale[2] = {};
      std::memcpy(scale, payload + b * each, each);
      // Signs are two levels, 2 scales apart.
      const float lowest = uniform ? scale[0] : -scale[0], step = uniform ? scale[1] : 2 * scale[0];
      if (!std::isfinite(lowest) || !(step >= 0) || !std::isfinite(step)) odd_scale = true;
      const auto d = blocks.padded(b);
      for (std::uint64_t at = 0; at < d; at += kChunk) {
        const auto some = std::min(kChunk, d - at);
        unpack(packed + blocks.offset(b) + at / 8 * blocks.bits, some, blocks.bits, scratch.codes);
        restore(scratch.codes, some, lowest, step, scratch.rotated + at);
      }
      float* const to = out + b * blocks.size;
      rotate_back(scratch.rotated, d, spec.seed, b, to, blocks.count(b));
      if (largest_magnitude(to, blocks.count(b)) >= kInfinity) too_large = true;
    }
  });
  if (odd_scale) refuse_payload("scales that are finite, and steps not below 0", "another one");
  if (too_large) refuse_payload("values within float32", "codes and scales that give larger ones");
}

}  // namespace sslmed::federated
