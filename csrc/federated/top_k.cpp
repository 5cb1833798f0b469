// The k values of the largest magnitude, of equal ones the first: exact, by radix. Their places are ascending and stand
// in Elias-Fano's code (Elias, JACM 1974; Fano, 1971): about log2(n/k) + 2 bits each, and the size is known beforehand.

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/simd.h"
#include "federated/elias_fano.h"
#include "federated/methods.h"

namespace sslmed::federated {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 16;  // values whose counts stand together
constexpr std::int64_t kGrain = 8;                        // pieces a thread is worth
constexpr std::size_t kBins = 4096;                       // the exponent and four bits of the fraction
constexpr int kBinShift = 19;
constexpr std::size_t kLook = 32;                           // values that are passed over together where none counts
constexpr std::uint64_t kCounted = std::uint64_t{1} << 20;  // values that are counted before counters are added up

std::uint32_t magnitude(float value) { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu; }

// Even and odd places have counters of their own: neighbors are often in one bin, and would wait for each other.
using Histogram = std::array<std::array<std::uint32_t, kBins>, 2>;

void count(const float* values, std::size_t n, Histogram& bins) {
  for (std::size_t i = 0; i < n; ++i) ++bins[i & 1][magnitude(values[i]) >> kBinShift];
}

struct Counts {
  std::uint64_t above = 0, equal = 0;
};

SSLMED_CLONES void count_above(const float* values, std::size_t n, std::uint32_t threshold, Counts* out) {
  std::uint32_t above = 0, equal = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto key = std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu;
    above += key > threshold;
    equal += key == threshold;
  }
  *out = {above, equal};
}

// f(piece, its values, their number) for all pieces.
template <class F>
void each_piece(const float* values, std::uint64_t n, unsigned threads, F&& f) {
  divide(static_cast<std::int64_t>(chunks_of(n, kPiece)), kGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (auto p = static_cast<std::uint64_t>(begin); p < static_cast<std::uint64_t>(end); ++p)
      f(p, values + p * kPiece, static_cast<std::size_t>(std::min(kPiece, n - p * kPiece)));
  });
}

// The magnitude of the k-th largest value; false where a value is not finite.
bool kth_largest(const float* values, std::uint64_t n, std::uint64_t k, unsigned threads, std::uint32_t* out) {
  // Each thread counts a share of its own; sums of whole numbers do not depend on the shares.
  const auto pieces = chunks_of(n, kPiece);
  const auto shares = std::clamp<std::uint64_t>(pieces / kGrain, 1, std::max(threads, 1u));
  std::vector<std::array<std::uint64_t, kBins>> counts(shares);
  const auto start = [&](std::uint64_t share) { return std::min(n, pieces * share / shares * kPiece); };
  const auto over_shares = [&](const std::function<void(std::uint64_t)>& f) {
    divide(static_cast<std::int64_t>(shares), 1, threads, [&](std::int64_t first, std::int64_t last) {
      for (auto s = first; s < last; ++s) f(static_cast<std::uint64_t>(s));
    });
  };
  over_shares([&](std::uint64_t s) {
    counts[s].fill(0);
    for (auto at = start(s); at < start(s + 1); at += kCounted) {
      Histogram bins{};
      count(values + at, std::min(kCounted, start(s + 1) - at), bins);
      for (std::size_t b = 0; b < kBins; ++b) counts[s][b] += bins[0][b] + bins[1][b];
    }
  });
  // Infinity and NaN have the bins above all others.
  for (const auto& share : counts)
    for (std::size_t b = kInfinity >> kBinShift; b < kBins; ++b)
      if (share[b] > 0) return false;
  std::uint64_t above = 0;
  std::size_t bin = kBins;
  while (bin-- > 0) {
    std::uint64_t here = 0;
    for (const auto& share : counts) here += share[bin];
    if (above + here >= k) break;
    above += here;
  }
  // What is in the bin of the k-th, in the order of the tensor.
  std::vector<std::uint64_t> places(shares + 1, 0);
  for (std::uint64_t s = 0; s < shares; ++s) places[s + 1] = places[s] + counts[s][bin];
  std::vector<std::uint32_t> keys(places[shares]);
  over_shares([&](std::uint64_t s) {
    auto to = places[s];
    const auto end = start(s + 1);
    for (auto first = start(s); first < end; first += kLook) {
      const auto last = std::min(end, first + kLook);
      bool any = false;
      for (auto i = first; i < last; ++i) any |= magnitude(values[i]) >> kBinShift == bin;
      if (!any) continue;
      for (auto i = first; i < last; ++i)
        if (magnitude(values[i]) >> kBinShift == bin) keys[to++] = magnitude(values[i]);
    }
  });
  const auto rank = keys.begin() + static_cast<std::ptrdiff_t>(k - above - 1);
  std::nth_element(keys.begin(), rank, keys.end(), std::greater<>());
  *out = *rank;
  return true;
}

// The places of a piece that are sent: those above, and the first `ties` of the equal ones.
void choose(const float* values, std::size_t n, std::uint64_t first, std::uint32_t threshold, std::uint64_t ties, std::uint64_t* places, float* chosen) {
  for (std::size_t i = 0; i < n; i += kLook) {
    const auto end = std::min(n, i + kLook);
    bool any = false;
    for (auto j = i; j < end; ++j) any |= magnitude(values[j]) >= threshold;
    if (!any) continue;
    for (auto j = i; j < end; ++j) {
      const auto key = magnitude(values[j]);
      if (key < threshold || (key == threshold && ties == 0)) continue;
      ties -= key == threshold;
      *places++ = first + j;
      *chosen++ = values[j];
    }
  }
}

}  // namespace

Fault encode_top_k(const Spec& spec, const float* values, std::uint8_t* payload, unsigned threads) {
  const auto n = spec.n, k = spec.parameter, pieces = chunks_of(n, kPiece);
  std::uint32_t threshold = 0;
  if (!kth_largest(values, n, k, threads, &threshold)) return Fault::kNotFinite;
  std::vector<Counts> counts(pieces);
  each_piece(values, n, threads, [&](std::uint64_t p, const float* piece, std::size_t some) { count_above(piece, some, threshold, &counts[p]); });
  std::uint64_t ties = k;
  for (const auto& each : counts) ties -= each.above;
  std::vector<std::uint64_t> taken(pieces), to(pieces + 1, 0);  // ties of a piece, and where its values go
  for (std::uint64_t p = 0; p < pieces; ++p) {
    taken[p] = std::min(ties, counts[p].equal);
    ties -= taken[p];
    to[p + 1] = to[p] + counts[p].above + taken[p];
  }
  std::vector<std::uint64_t> places(k);
  std::vector<float> chosen(k);
  each_piece(values, n, threads, [&](std::uint64_t p, const float* piece, std::size_t some) {
    choose(piece, some, p * kPiece, threshold, taken[p], places.data() + to[p], chosen.data() + to[p]);
  });
  std::memcpy(payload, chosen.data(), k * sizeof(float));
  write_places(places, n, payload + k * sizeof(float));
  return Fault::kNone;
}

void decode_top_k(const Spec& spec, const std::uint8_t* payload, float* out) {
  const auto n = spec.n, k = spec.parameter;
  if (n > 0) std::memset(out, 0, n * sizeof(float));
  if (k == 0) return;
  std::vector<float> chosen(k);
  std::memcpy(chosen.data(), payload, k * sizeof(float));
  if (largest_magnitude(chosen.data(), k) >= kInfinity) refuse_payload("finite values", "others");
  std::vector<std::uint64_t> places(k);
  if (!read_places(payload + k * sizeof(float), n, places)) refuse_payload(std::to_string(k) + " ascending indices below " + std::to_string(n), "others");
  for (std::uint64_t i = 0; i < k; ++i) out[places[i]] = chosen[i];
}

}  // namespace sslmed::federated
