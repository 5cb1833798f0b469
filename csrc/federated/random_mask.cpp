// A random mask (Konecny et al., 2016): each place is sent with the same chance, which the seed decides, so that no index
// travels; what arrives is divided by the chance.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/simd.h"
#include "federated/draws.h"
#include "federated/methods.h"
#include "federated/packing.h"

namespace sslmed::federated {
namespace {

constexpr std::int64_t kGrain = 64;  // chunks a thread is worth
constexpr std::size_t kWords = kChunk / 64;
constexpr std::uint64_t kAll = std::uint64_t{1} << 32;

SSLMED_CLONES void below(const std::uint32_t* words, std::size_t n, std::uint32_t threshold, std::uint8_t* flags) {
  for (std::size_t i = 0; i < n; ++i) flags[i] = words[i] < threshold;
}

SSLMED_CLONES void multiply(float* values, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) values[i] *= factor;
}

float factor_of(const Spec& spec) { return static_cast<float>(static_cast<double>(kAll) / static_cast<double>(spec.parameter)); }

// A bit for each place, and where the values of each chunk go.
struct Mask {
  std::vector<std::uint64_t> bits, start;
};

Mask draw(const Spec& spec, unsigned threads) {
  const auto chunks = chunks_of(spec.n, kChunk);
  Mask mask{std::vector<std::uint64_t>(chunks * kWords), std::vector<std::uint64_t>(chunks + 1)};
  divide(static_cast<std::int64_t>(chunks), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    std::uint32_t words[kChunk];
    std::uint8_t flags[kChunk];
    for (auto c = static_cast<std::uint64_t>(begin); c < static_cast<std::uint64_t>(end); ++c) {
      const auto some = std::min(kChunk, spec.n - c * kChunk);
      if (spec.parameter == kAll) {
        std::memset(flags, 1, some);
      } else {
        Words(spec.seed, Purpose::kMask, c).take(words, some);
        below(words, some, static_cast<std::uint32_t>(spec.parameter), flags);
      }
      auto* const bits = mask.bits.data() + c * kWords;
      pack(flags, some, 1, reinterpret_cast<std::uint8_t*>(bits));
      std::uint64_t count = 0;
      for (std::size_t w = 0; w < kWords; ++w) count += static_cast<std::uint64_t>(std::popcount(bits[w]));
      mask.start[c + 1] = count;
    }
  });
  for (std::uint64_t c = 0; c < chunks; ++c) mask.start[c + 1] += mask.start[c];
  return mask;
}

// f(place) for each place of a chunk that is sent, in order.
template <class F>
void each_sent(const Mask& mask, std::uint64_t chunk, F&& f) {
  for (std::size_t w = 0; w < kWords; ++w)
    for (auto word = mask.bits[chunk * kWords + w]; word != 0; word &= word - 1)
      f(chunk * kChunk + w * 64 + static_cast<std::uint64_t>(std::countr_zero(word)));
}

}  // namespace

Fault encode_random_mask(const Spec& spec, const float* values, Bytes& payload, unsigned threads) {
  const auto mask = draw(spec, threads);
  payload.size = mask.start.back() * sizeof(float);
  payload.data = std::make_unique_for_overwrite<std::uint8_t[]>(payload.size);
  const auto most = std::bit_cast<std::uint32_t>(std::numeric_limits<float>::max() / factor_of(spec));
  Faults faults;
  divide(static_cast<std::int64_t>(chunks_of(spec.n, kChunk)), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (auto c = static_cast<std::uint64_t>(begin); c < static_cast<std::uint64_t>(end); ++c) {
      const auto largest = largest_magnitude(values + c * kChunk, std::min(kChunk, spec.n - c * kChunk));
      if (largest > most) return faults.note(largest >= kInfinity ? Fault::kNotFinite : Fault::kTooLarge);
      auto* to = payload.data.get() + mask.start[c] * sizeof(float);
      each_sent(mask, c, [&](std::uint64_t i) {
        std::memcpy(to, values + i, sizeof(float));
        to += sizeof(float);
      });
    }
  });
  return faults.found();
}

void decode_random_mask(const Spec& spec, const std::uint8_t* payload, std::size_t size, float* out, unsigned threads) {
  const auto mask = draw(spec, threads);
  const auto expected = mask.start.back() * sizeof(float);
  if (size != expected) refuse_payload(std::to_string(expected) + " bytes, as the seed says", std::to_string(size));
  const float factor = factor_of(spec);
  std::atomic<bool> too_large{false};
  divide(static_cast<std::int64_t>(chunks_of(spec.n, kChunk)), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (auto c = static_cast<std::uint64_t>(begin); c < static_cast<std::uint64_t>(end); ++c) {
      const auto some = std::min(kChunk, spec.n - c * kChunk);
      std::memset(out + c * kChunk, 0, some * sizeof(float));
      const auto* from = payload + mask.start[c] * sizeof(float);
      each_sent(mask, c, [&](std::uint64_t i) {
        std::memcpy(out + i, from, sizeof(float));
        from += sizeof(float);
      });
      multiply(out + c * kChunk, some, factor);
      if (largest_magnitude(out + c * kChunk, some) >= kInfinity) too_large = true;
    }
  });
  if (too_large) refuse_payload("values within float32", "larger ones");
}

}  // namespace sslmed::federated
