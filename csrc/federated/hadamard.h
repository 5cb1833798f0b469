#pragma once
// Random rotations of blocks: random signs, then the Walsh-Hadamard transform, scaled to keep lengths.

#include <cstddef>
#include <cstdint>

namespace sslmed::federated {

inline constexpr std::size_t kMostRotated = std::size_t{1} << 16;

// In place, without a scale: twice gives n times the values. n: a power of two from 8 on.
void walsh_hadamard(float* values, std::size_t n);

// out[i] = ±values[i] / sqrt(d), 0 from n on, then the transform. d: a power of two from 8 to kMostRotated, not below n.
void rotate(const float* values, std::size_t n, std::uint64_t seed, std::uint64_t block, float* out, std::size_t d);

// The inverse: `rotated` [d] is overwritten, out: [n].
void rotate_back(float* rotated, std::size_t d, std::uint64_t seed, std::uint64_t block, float* out, std::size_t n);

}  // namespace sslmed::federated
