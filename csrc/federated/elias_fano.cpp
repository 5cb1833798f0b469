#include "federated/elias_fano.h"

#include <bit>
#include <cstring>

namespace sslmed::federated {
namespace {

unsigned low_bits(std::uint64_t k, std::uint64_t n) { return k == 0 ? 0 : static_cast<unsigned>(std::bit_width(n / k) - 1); }

std::uint64_t low_size(std::uint64_t k, unsigned bits) { return (k * bits + 7) / 8; }

std::uint64_t high_size(std::uint64_t k, std::uint64_t n, unsigned bits) { return k == 0 ? 0 : (k + ((n - 1) >> bits) + 7) / 8; }

}  // namespace

std::uint64_t places_size(std::uint64_t k, std::uint64_t n) {
  const auto bits = low_bits(k, n);
  return low_size(k, bits) + high_size(k, n, bits);
}

void write_places(const std::vector<std::uint64_t>& places, std::uint64_t n, std::uint8_t* out) {
  const auto k = places.size();
  if (k == 0) return;
  const auto bits = low_bits(k, n);
  std::memset(out, 0, places_size(k, n));
  std::uint8_t* const high = out + low_size(k, bits);
  // Bits wait in a word until there are eight; a place has at most 40 low bits, so that the word holds them.
  std::uint64_t waiting = 0;
  unsigned count = 0;
  for (std::size_t i = 0; i < k; ++i) {
    const auto at = (places[i] >> bits) + i;
    high[at / 8] = static_cast<std::uint8_t>(high[at / 8] | 1u << (at % 8));
    waiting |= (places[i] & ((std::uint64_t{1} << bits) - 1)) << count;
    for (count += bits; count >= 8; count -= 8, waiting >>= 8) *out++ = static_cast<std::uint8_t>(waiting);
  }
  if (count > 0) *out = static_cast<std::uint8_t>(waiting);
}

bool read_places(const std::uint8_t* bytes, std::uint64_t n, std::vector<std::uint64_t>& places) {
  const auto k = places.size();
  if (k == 0) return true;
  const auto bits = low_bits(k, n);
  const auto size = high_size(k, n, bits);
  const std::uint8_t* const high = bytes + low_size(k, bits);
  std::uint64_t waiting = 0, before = 0;
  unsigned count = 0;
  std::size_t found = 0;
  for (std::uint64_t at = 0; at < size; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, high + at, size - at < 8 ? size - at : 8);
    for (; word != 0; word &= word - 1) {
      if (found == k) return false;
      const auto part = at * 8 + static_cast<std::uint64_t>(std::countr_zero(word)) - found;
      for (; count < bits; count += 8) waiting |= static_cast<std::uint64_t>(*bytes++) << count;
      const auto place = part << bits | (waiting & ((std::uint64_t{1} << bits) - 1));
      waiting >>= bits;
      count -= bits;
      if (place >= n || (found > 0 && place <= before)) return false;
      places[found++] = before = place;
    }
  }
  return found == k;
}

}  // namespace sslmed::federated
