#include "federated/codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/simd.h"
#include "federated/elias_fano.h"
#include "federated/hadamard.h"
#include "federated/methods.h"
#include "federated/packing.h"

namespace sslmed::federated {
namespace {

constexpr std::uint64_t kMost = std::uint64_t{1} << 40;

SSLMED_CLONES std::uint32_t largest_of(const float* values, std::size_t n) {
  std::int32_t most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu);
    most = bits > most ? bits : most;
  }
  return static_cast<std::uint32_t>(most);
}

bool is_block(std::uint64_t size, std::uint64_t most) { return std::has_single_bit(size) && size >= 8 && size <= most; }

std::uint64_t rotated_size(const Spec& spec, std::size_t scale) {
  const auto full = spec.n / spec.parameter, rest = spec.n % spec.parameter;
  const auto last = rest == 0 ? 0 : std::max<std::uint64_t>(8, std::bit_ceil(rest));
  return chunks_of(spec.n, spec.parameter) * scale + full * (spec.parameter / 8 * spec.bits) + last / 8 * spec.bits;
}

[[noreturn]] void refuse_values(const float* values, std::uint64_t n) {
  std::uint64_t count = 0, first = 0;
  for (std::uint64_t i = n; i-- > 0;) {
    if (std::isfinite(values[i])) continue;
    ++count;
    first = i;
  }
  throw ValueError("tensor must be finite, found " + std::to_string(count) + (count == 1 ? " value" : " values") + " of NaN or infinity, the first at index " +
                   std::to_string(first));
}

}  // namespace

std::uint32_t largest_magnitude(const float* values, std::size_t n) { return largest_of(values, n); }

float round_up(double value) {
  const auto near = static_cast<float>(value);
  return near < value ? std::nextafter(near, std::numeric_limits<float>::infinity()) : near;
}

void refuse_payload(std::string_view expected, std::string_view found) { throw FormatError("payload", expected, found); }

void check(const Spec& spec) {
  require(spec.n <= kMost, "n", spec.n, "must be at most 2^40 values");
  const auto p = spec.parameter;
  switch (spec.method) {
    case Method::kQsgd:
      require(spec.bits >= 2 && spec.bits <= 8, "bits", spec.bits, "must be from 2 to 8: a sign and at least one level");
      require(p == 0 || is_block(p, kMost), "bucket", p, "must be a power of two from 8 to 2^40, or 0 for one bucket");
      return;
    case Method::kDrive:
    case Method::kHadamard:
      if (spec.method == Method::kDrive) {
        require(spec.bits == 1, "bits", spec.bits, "must be 1: drive sends signs");
      } else {
        require(spec.bits >= 1 && spec.bits <= 8, "bits", spec.bits, "must be from 1 to 8");
      }
      require(is_block(p, kMostRotated), "block", p, "must be a power of two from 8 to 65536");
      return;
    case Method::kTopK:
      require(p <= spec.n && (p > 0 || spec.n == 0), "k", p, "must be from 1 to the " + std::to_string(spec.n) + " values of the tensor");
      break;
    case Method::kRandMask:
      require(p >= 1 && p <= (std::uint64_t{1} << 32), "threshold", p, "must be from 1 to 2^32");
      break;
    case Method::kLowRank: {
      if (spec.n == 0) break;
      require(spec.rows > 0 && spec.n % spec.rows == 0, "rows", spec.rows, "must divide the " + std::to_string(spec.n) + " values of the tensor");
      const auto least = std::min(spec.rows, spec.n / spec.rows);
      require(p >= 1 && p <= least, "rank", p, "must be from 1 to " + std::to_string(least) + ", the smaller side of the matrix");
      break;
    }
    default:
      require(false, "method", static_cast<int>(spec.method), "is not known");
  }
  require(spec.bits == 32, "bits", spec.bits, "must be 32: this method sends its values as float32");
}

std::uint64_t payload_size(const Spec& spec) {
  check(spec);
  if (spec.n == 0) return 0;
  switch (spec.method) {
    case Method::kQsgd:
      return (spec.parameter == 0 ? 1 : chunks_of(spec.n, spec.parameter)) * sizeof(float) + packed_size(spec.n, spec.bits);
    case Method::kDrive:
      return rotated_size(spec, sizeof(float));
    case Method::kHadamard:
      return rotated_size(spec, 2 * sizeof(float));
    case Method::kTopK:
      return spec.parameter * sizeof(float) + places_size(spec.parameter, spec.n);
    case Method::kLowRank:
      return (spec.rows + spec.n / spec.rows) * spec.parameter * sizeof(float);
    case Method::kRandMask:
      break;
  }
  return spec.n * sizeof(float);
}

Bytes encode(const Spec& spec, const float* values, const Choices& choices, unsigned threads) {
  check(spec);
  require(choices.iterations >= 1, "iterations", choices.iterations, "must be at least 1");
  Bytes payload;
  if (spec.n == 0) return payload;
  if (spec.method != Method::kRandMask) {
    payload.size = payload_size(spec);
    payload.data = std::make_unique_for_overwrite<std::uint8_t[]>(payload.size);
  }
  auto fault = Fault::kNone;
  switch (spec.method) {
    case Method::kQsgd:
      fault = encode_qsgd(spec, values, payload.data.get(), threads);
      break;
    case Method::kDrive:
    case Method::kHadamard:
      fault = encode_rotated(spec, values, choices.least_error, payload.data.get(), threads);
      break;
    case Method::kTopK:
      fault = encode_top_k(spec, values, payload.data.get(), threads);
      break;
    case Method::kRandMask:
      fault = encode_random_mask(spec, values, payload, threads);
      break;
    case Method::kLowRank:
      fault = encode_low_rank(spec, values, choices.iterations, payload.data.get(), threads);
      break;
  }
  if (fault != Fault::kNone && largest_magnitude(values, spec.n) >= kInfinity) refuse_values(values, spec.n);
  if (fault == Fault::kTooLarge) throw ValueError("tensor has values that are too large: norms and sums of this method are beyond float32; scale it down");
  return payload;
}

void decode(const Spec& spec, const std::uint8_t* payload, std::size_t size, float* out, unsigned threads) {
  const auto expected = payload_size(spec);
  const bool fits = spec.method == Method::kRandMask ? size <= expected && size % sizeof(float) == 0 : size == expected;
  if (!fits) refuse_payload((spec.method == Method::kRandMask ? "at most " : "") + std::to_string(expected) + " bytes", std::to_string(size));
  if (spec.n == 0) return;
  switch (spec.method) {
    case Method::kQsgd:
      return decode_qsgd(spec, payload, out, threads);
    case Method::kDrive:
    case Method::kHadamard:
      return decode_rotated(spec, payload, out, threads);
    case Method::kTopK:
      return decode_top_k(spec, payload, out);
    case Method::kRandMask:
      return decode_random_mask(spec, payload, size, out, threads);
    case Method::kLowRank:
      return decode_low_rank(spec, payload, out, threads);
  }
}

}  // namespace sslmed::federated
