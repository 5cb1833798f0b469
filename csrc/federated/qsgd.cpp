// QSGD: levels of a bucket's norm, stochastically rounded (Alistarh, Grubic, Li, Tomioka and Vojnovic, NeurIPS 2017).

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/simd.h"
#include "federated/draws.h"
#include "federated/methods.h"
#include "federated/packing.h"
#include "federated/rounding.h"

namespace sslmed::federated {
namespace {

constexpr std::int64_t kGrain = 64;  // chunks a thread is worth

int levels_of(const Spec& spec) { return (1 << (spec.bits - 1)) - 1; }

std::uint64_t bucket_of(const Spec& spec) { return spec.parameter == 0 ? ~std::uint64_t{0} : spec.parameter; }

// Sums of eight lanes: the order is the same on every processor.
SSLMED_CLONES double sum_of_squares(const float* values, std::size_t n) {
  double lanes[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t j = 0; j < 8; ++j) lanes[j] += static_cast<double>(values[i + j]) * values[i + j];
  for (std::size_t j = 0; i < n; ++i, ++j) lanes[j] += static_cast<double>(values[i]) * values[i];
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

SSLMED_CLONES void round_values(const float* values, const std::uint32_t* words, std::size_t n, float step, int levels, std::uint8_t* codes) {
  round_around_zero(values, words, n, step, levels, codes);
}

SSLMED_CLONES void restore(const std::uint8_t* codes, std::size_t n, float step, int levels, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<int>(codes[i]) - levels) * step;
}

SSLMED_CLONES int largest(const std::uint8_t* codes, std::size_t n) {
  std::uint8_t top = 0;
  for (std::size_t i = 0; i < n; ++i) top = codes[i] > top ? codes[i] : top;
  return top;
}

float step_of(double squares, int levels) { return round_up(std::sqrt(squares) / levels); }

// Steps of buckets that hold several chunks: sums of chunks, added in order.
std::vector<float> steps_of_large(const float* values, std::uint64_t n, std::uint64_t bucket, int levels, unsigned threads) {
  const auto chunks = chunks_of(n, kChunk);
  std::vector<double> sums(chunks);
  divide(static_cast<std::int64_t>(chunks), kGrain, threads, [&](std::int64_t first, std::int64_t last) {
    for (auto c = static_cast<std::uint64_t>(first); c < static_cast<std::uint64_t>(last); ++c)
      sums[c] = sum_of_squares(values + c * kChunk, std::min(kChunk, n - c * kChunk));
  });
  std::vector<double> totals(chunks_of(n, bucket));
  for (std::uint64_t c = 0; c < chunks; ++c) totals[c * kChunk / bucket] += sums[c];
  std::vector<float> steps;
  for (const double total : totals) steps.push_back(step_of(total, levels));
  return steps;
}

}  // namespace

Fault encode_qsgd(const Spec& spec, const float* values, std::uint8_t* payload, unsigned threads) {
  const int levels = levels_of(spec);
  const auto bucket = bucket_of(spec), n = spec.n, buckets = chunks_of(n, bucket);
  const bool large = bucket > kChunk;
  const auto steps = large ? steps_of_large(values, n, bucket, levels, threads) : std::vector<float>{};
  std::uint8_t* const packed = payload + buckets * sizeof(float);
  if (large) std::memcpy(payload, steps.data(), buckets * sizeof(float));
  Faults faults;
  divide(static_cast<std::int64_t>(chunks_of(n, kChunk)), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    std::uint32_t words[kChunk];
    std::uint8_t codes[kChunk];
    for (auto c = static_cast<std::uint64_t>(begin); c < static_cast<std::uint64_t>(end); ++c) {
      const float* const chunk = values + c * kChunk;
      const auto some = std::min(kChunk, n - c * kChunk);
      if (largest_magnitude(chunk, some) >= kInfinity) return faults.note(Fault::kNotFinite);
      Words(spec.seed, Purpose::kRounding, c).take(words, some);
      for (std::uint64_t at = 0; at < some; at += std::min(bucket, kChunk)) {
        const auto count = std::min(std::min(bucket, kChunk), some - at);
        const auto number = (c * kChunk + at) / bucket;
        const float step = large ? steps[number] : step_of(sum_of_squares(chunk + at, count), levels);
        if (!std::isfinite(step * static_cast<float>(levels))) return faults.note(Fault::kTooLarge);  // the largest that may arrive
        if (!large) std::memcpy(payload + number * sizeof(float), &step, sizeof step);
        if (step == 0) {
          std::memset(codes + at, levels, count);
        } else {
          round_values(chunk + at, words + at, count, step, levels, codes + at);
        }
      }
      pack(codes, some, spec.bits, packed + c * (kChunk / 8 * spec.bits));
    }
  });
  return faults.found();
}

void decode_qsgd(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads) {
  const int levels = levels_of(spec);
  const auto bucket = bucket_of(spec), n = spec.n;
  const std::uint8_t* const packed = payload + chunks_of(n, bucket) * sizeof(float);
  std::atomic<bool> odd_step{false}, odd_code{false}, too_large{false};
  divide(static_cast<std::int64_t>(chunks_of(n, kChunk)), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    std::uint8_t codes[kChunk];
    for (auto c = static_cast<std::uint64_t>(begin); c < static_cast<std::uint64_t>(end); ++c) {
      const auto some = std::min(kChunk, n - c * kChunk);
      unpack(packed + c * (kChunk / 8 * spec.bits), some, spec.bits, codes);
      if (largest(codes, some) > 2 * levels) odd_code = true;
      for (std::uint64_t at = 0; at < some; at += std::min(bucket, kChunk)) {
        const auto count = std::min(std::min(bucket, kChunk), some - at);
        float step;
        std::memcpy(&step, payload + (c * kChunk + at) / bucket * sizeof(float), sizeof step);
        if (!(step >= 0) || !std::isfinite(step)) odd_step = true;
        restore(codes + at, count, step, levels, out + c * kChunk + at);
      }
      if (largest_magnitude(out + c * kChunk, some) >= kInfinity) too_large = true;
    }
  });
  if (odd_step) refuse_payload("steps that are finite and not below 0", "another one");
  if (odd_code) refuse_payload("codes up to " + std::to_string(2 * levels), "a larger one");
  if (too_large) refuse_payload("values within float32", "codes and steps that give larger ones");
}

}  // namespace sslmed::federated
