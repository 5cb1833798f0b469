#pragma once
// A fast 64-bit checksum against damage, not against malice: any change of a single aligned word changes it for certain.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sslmed {

inline std::uint64_t checksum(const void* bytes, std::size_t size) {
  // Four independent chains keep the multiplier busy; xor and odd products are bijections, so no word's change is lost.
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ull;
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  const auto* at = static_cast<const unsigned char*>(bytes);
  std::size_t left = size;
  for (; left >= 32; left -= 32, at += 32) {
    std::uint64_t words[4];
    std::memcpy(words, at, 32);
    for (int i = 0; i < 4; ++i) lanes[i] = (lanes[i] ^ words[i]) * kOdd;
  }
  for (int i = 0; left > 0; ++i) {
    std::uint64_t word = 0;
    const std::size_t n = left < 8 ? left : 8;
    std::memcpy(&word, at, n);
    lanes[i] = (lanes[i] ^ word) * kOdd;
    at += n;
    left -= n;
  }
  std::uint64_t sum = size;
  for (const auto lane : lanes) {
    sum = (sum ^ lane) * kOdd;
    sum ^= sum >> 29;
  }
  return sum;
}

}  // namespace sslmed
