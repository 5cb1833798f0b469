#include "federated/hadamard.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/simd.h"
#include "federated/draws.h"

namespace sslmed::federated {
namespace {

typedef float Eight __attribute__((vector_size(32)));

SSLMED_INLINE Eight load(const float* from) {
  Eight v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

SSLMED_INLINE void store(float* to, Eight v) { std::memcpy(to, &v, sizeof v); }

// The first three steps, within a register.
SSLMED_INLINE Eight within(Eight v) {
  v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6) + v * Eight{1, -1, 1, -1, 1, -1, 1, -1};
  v = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5) + v * Eight{1, 1, -1, -1, 1, 1, -1, -1};
  return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3) + v * Eight{1, 1, 1, 1, -1, -1, -1, -1};
}

// Two steps at once from 8 on, so that each value is loaded half as often.
SSLMED_CLONES void transform(float* values, std::size_t n) {
  for (std::size_t i = 0; i < n; i += 8) store(values + i, within(load(values + i)));
  std::size_t h = 8;
  for (; 4 * h <= n; h *= 4) {
    for (std::size_t first = 0; first < n; first += 4 * h) {
      float* const p = values + first;
      for (std::size_t i = 0; i < h; i += 8) {
        const Eight a = load(p + i), b = load(p + i + h), c = load(p + i + 2 * h), d = load(p + i + 3 * h);
        const Eight ab = a + b, cd = c + d, a_b = a - b, c_d = c - d;
        store(p + i, ab + cd);
        store(p + i + h, a_b + c_d);
        store(p + i + 2 * h, ab - cd);
        store(p + i + 3 * h, a_b - c_d);
      }
    }
  }
  if (h < n) {
    for (std::size_t i = 0; i < h; i += 8) {
      const Eight a = load(values + i), b = load(values + i + h);
      store(values + i, a + b);
      store(values + i + h, a - b);
    }
  }
}

// Bit i % 32 of word i / 32 is the sign of value i.
SSLMED_CLONES void scale_with_signs(const float* values, std::size_t n, const std::uint32_t* words, float factor, float* out) {
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const std::uint32_t word = words[i / 32];
    for (unsigned j = 0; j < 32; ++j)
      out[i + j] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(values[i + j] * factor) ^ ((word << (31 - j)) & 0x80000000u));
  }
  for (; i < n; ++i) out[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(values[i] * factor) ^ ((words[i / 32] << (31 - i % 32)) & 0x80000000u));
}

SSLMED_CLONES void scale(float* values, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) values[i] *= factor;
}

void draw_signs(std::uint64_t seed, std::uint64_t block, std::size_t n, std::uint32_t* words) {
  Words(seed, Purpose::kSigns, block).take(words, (n + 31) / 32);
}

float unit(std::size_t d) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(d))); }

}  // namespace

void walsh_hadamard(float* values, std::size_t n) { transform(values, n); }

void rotate(const float* values, std::size_t n, std::uint64_t seed, std::uint64_t block, float* out, std::size_t d) {
  std::uint32_t words[kMostRotated / 32];
  draw_signs(seed, block, n, words);
  scale_with_signs(values, n, words, unit(d), out);
  std::memset(out + n, 0, (d - n) * sizeof(float));
  transform(out, d);
}

void rotate_back(float* rotated, std::size_t d, std::uint64_t seed, std::uint64_t block, float* out, std::size_t n) {
  std::uint32_t words[kMostRotated / 32];
  draw_signs(seed, block, n, words);
  scale(rotated, d, unit(d));  // first: sums of the transform are then no larger than what comes out, and stay within float32
  transform(rotated, d);
  scale_with_signs(rotated, n, words, 1.0f, out);
}

}  // namespace sslmed::federated
