// Two thin factors of a matrix, by power iterations from a start that the seed gives, columns made orthonormal
// (PowerSGD: Vogels, Karimireddy and Jaggi, NeurIPS 2019, algorithm 1, without its warm start).

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "core/simd.h"
#include "federated/draws.h"
#include "federated/methods.h"

namespace sslmed::federated {
namespace {

constexpr std::uint64_t kColumns = 512;  // of a band that one thread sums over all rows
constexpr std::uint64_t kTogether = 8;   // ranks whose sums of a band fit the first cache

// [rows, columns] of the tensor; ranks are few.
struct Matrix {
  const float* values;
  std::uint64_t rows, columns, rank;
  unsigned threads;

  std::int64_t grain(std::uint64_t each) const { return static_cast<std::int64_t>(std::max<std::uint64_t>(1, (std::uint64_t{1} << 18) / (each * rank))); }
};

SSLMED_CLONES double dot(const float* a, const float* b, std::size_t n) {
  double lanes[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t j = 0; j < 8; ++j) lanes[j] += static_cast<double>(a[i + j]) * b[i + j];
  for (std::size_t j = 0; i < n; ++i, ++j) lanes[j] += static_cast<double>(a[i]) * b[i];
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

SSLMED_CLONES void add(const float* values, std::size_t n, double weight, double* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] += weight * values[i];
}

SSLMED_CLONES void add_row(const float* values, std::size_t n, float weight, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] += weight * values[i];
}

// right: [rank, columns], uniform in [-1, 1): a start of signs would have equal columns where they are short.
void start(const Matrix& m, std::uint64_t seed, float* right) {
  divide(static_cast<std::int64_t>(m.rank), m.grain(m.columns), m.threads, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r) {
      Words draws(seed, Purpose::kStart, static_cast<std::uint64_t>(r));
      std::uint32_t words[kWordsAtOnce];
      float* const row = right + static_cast<std::uint64_t>(r) * m.columns;
      for (std::uint64_t j = 0; j < m.columns; ++j) {
        if (j % kWordsAtOnce == 0) draws.take(words, kWordsAtOnce);
        row[j] = static_cast<float>(static_cast<std::int32_t>(words[j % kWordsAtOnce])) * 0x1p-31f;
      }
    }
  });
}

// left [rows, rank] = M right^T.
void times_right(const Matrix& m, const float* right, double* left) {
  divide(static_cast<std::int64_t>(m.rows), m.grain(m.columns), m.threads, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::uint64_t>(first); i < static_cast<std::uint64_t>(last); ++i)
      for (std::uint64_t r = 0; r < m.rank; ++r) left[i * m.rank + r] = dot(m.values + i * m.columns, right + r * m.columns, m.columns);
  });
}

// Gram and Schmidt, each column twice against those before it. A column that they explain becomes 0: it would be noise.
void orthonormalize(double* left, std::uint64_t rows, std::uint64_t rank) {
  const auto product = [&](std::uint64_t a, std::uint64_t b) {
    double sum = 0;
    for (std::uint64_t i = 0; i < rows; ++i) sum += left[i * rank + a] * left[i * rank + b];
    return sum;
  };
  for (std::uint64_t r = 0; r < rank; ++r) {
    const double before = std::sqrt(product(r, r));
    for (int pass = 0; pass < 2; ++pass) {
      for (std::uint64_t other = 0; other < r; ++other) {
        const double along = product(r, other);
        for (std::uint64_t i = 0; i < rows; ++i) left[i * rank + r] -= along * left[i * rank + other];
      }
    }
    const double after = std::sqrt(product(r, r));
    const double scale = after > 1e-12 * before ? 1 / after : 0;
    for (std::uint64_t i = 0; i < rows; ++i) left[i * rank + r] *= scale;
  }
}

// right [rank, columns] = left^T M, a band of columns at a time. False where a value is beyond float32.
bool times_left(const Matrix& m, const float* left, float* right) {
  std::atomic<bool> good{true};
  divide(static_cast<std::int64_t>(chunks_of(m.columns, kColumns)), m.grain(m.rows * kColumns), m.threads, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) double sums[kTogether][kColumns];
    for (auto b = static_cast<std::uint64_t>(begin); b < static_cast<std::uint64_t>(end); ++b) {
      const auto first = b * kColumns, some = std::min(kColumns, m.columns - first);
      for (std::uint64_t r = 0; r < m.rank; r += kTogether) {
        const auto ranks = std::min(kTogether, m.rank - r);
        std::memset(sums, 0, sizeof sums);
        for (std::uint64_t i = 0; i < m.rows; ++i)
          for (std::uint64_t j = 0; j < ranks; ++j) add(m.values + i * m.columns + first, some, left[i * m.rank + r + j], sums[j]);
        for (std::uint64_t j = 0; j < ranks; ++j) {
          float* const to = right + (r + j) * m.columns + first;
          for (std::uint64_t c = 0; c < some; ++c) to[c] = static_cast<float>(sums[j][c]);
          // What arrives is a sum of `rank` such values, weighted by at most 1.
          if (!std::isfinite(std::bit_cast<float>(largest_magnitude(to, some)) * static_cast<float>(m.rank))) good = false;
        }
      }
    }
  });
  return good;
}

Matrix matrix_of(const Spec& spec, const float* values, unsigned threads) { return {values, spec.rows, spec.n / spec.rows, spec.parameter, threads}; }

}  // namespace

Fault encode_low_rank(const Spec& spec, const float* values, unsigned iterations, std::uint8_t* payload, unsigned threads) {
  const auto m = matrix_of(spec, values, threads);
  if (largest_magnitude(values, spec.n) >= kInfinity) return Fault::kNotFinite;
  std::vector<float> right(m.rank * m.columns), left(m.rows * m.rank);
  std::vector<double> wide(left.size());
  start(m, spec.seed, right.data());
  for (unsigned i = 0; i < iterations; ++i) {
    times_right(m, right.data(), wide.data());
    orthonormalize(wide.data(), m.rows, m.rank);
    for (std::size_t j = 0; j < left.size(); ++j) left[j] = static_cast<float>(wide[j]);
    if (!times_left(m, left.data(), right.data())) return Fault::kTooLarge;
  }
  std::memcpy(payload, left.data(), left.size() * sizeof(float));
  std::memcpy(payload + left.size() * sizeof(float), right.data(), right.size() * sizeof(float));
  return Fault::kNone;
}

void decode_low_rank(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads) {
  const auto m = matrix_of(spec, nullptr, threads);
  std::vector<float> left(m.rows * m.rank), right(m.rank * m.columns);
  std::memcpy(left.data(), payload, left.size() * sizeof(float));
  std::memcpy(right.data(), payload + left.size() * sizeof(float), right.size() * sizeof(float));
  std::atomic<bool> good{true};
  divide(static_cast<std::int64_t>(m.rows), m.grain(m.columns), threads, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::uint64_t>(first); i < static_cast<std::uint64_t>(last); ++i) {
      float* const row = out + i * m.columns;
      std::memset(row, 0, m.columns * sizeof(float));
      for (std::uint64_t r = 0; r < m.rank; ++r) add_row(right.data() + r * m.columns, m.columns, left[i * m.rank + r], row);
      if (largest_magnitude(row, m.columns) >= kInfinity) good = false;
    }
  });
  if (!good) refuse_payload("factors whose product is within float32", "others");
}

}  // namespace sslmed::federated
