#pragma once
// Codes of 1 to 8 bits without gaps between them, the first code in the lowest bits.

#include <cstddef>
#include <cstdint>

namespace sslmed::federated {

inline constexpr std::size_t packed_size(std::size_t n, unsigned bits) { return n / 8 * bits + (n % 8 * bits + 7) / 8; }

// codes: [n], each below 2^bits; out: [packed_size(n, bits)]. Bits behind the last code are 0.
void pack(const std::uint8_t* codes, std::size_t n, unsigned bits, std::uint8_t* out);
void unpack(const std::uint8_t* packed, std::size_t n, unsigned bits, std::uint8_t* codes);

}  // namespace sslmed::federated
