#include "federated/packing.h"

#include <cstring>

#include "core/simd.h"

namespace sslmed::federated {
namespace {

// Payloads are little-endian, and so are the words below.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

constexpr std::size_t kWords = 64;  // of eight codes, done together
constexpr std::uint64_t kBytes = 0x00ff00ff00ff00ffull, kPairs = 0x0000ffff0000ffffull, kFours = 0x00000000ffffffffull;

// Neighbors are joined, then pairs of them, then fours: eight codes a word, in vector registers.
SSLMED_CLONES void join(std::uint64_t* words, std::size_t n, unsigned bits) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint64_t w = words[i];
    w = (w & kBytes) | ((w & ~kBytes) >> (8 - bits));
    w = (w & kPairs) | ((w & ~kPairs) >> (16 - 2 * bits));
    words[i] = (w & kFours) | ((w & ~kFours) >> (32 - 4 * bits));
  }
}

SSLMED_CLONES void part(std::uint64_t* words, std::size_t n, unsigned bits) {
  const std::uint64_t four = (std::uint64_t{1} << (4 * bits)) - 1;
  const std::uint64_t two = ((std::uint64_t{1} << (2 * bits)) - 1) * 0x0000000100000001ull;
  const std::uint64_t one = ((std::uint64_t{1} << bits) - 1) * 0x0001000100010001ull;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint64_t w = words[i];
    w = (w & four) | ((w & (four << (4 * bits))) << (32 - 4 * bits));
    w = (w & two) | ((w & (two << (2 * bits))) << (16 - 2 * bits));
    words[i] = (w & one) | ((w & (one << bits)) << (8 - bits));
  }
}

}  // namespace

void pack(const std::uint8_t* codes, std::size_t n, unsigned bits, std::uint8_t* out) {
  if (bits == 8) {
    if (n > 0) std::memcpy(out, codes, n);
    return;
  }
  const std::uint8_t* const end = out + packed_size(n, bits);
  std::uint64_t words[kWords];
  for (std::size_t first = 0; first < n; first += 8 * kWords) {
    const std::size_t some = n - first < 8 * kWords ? n - first : 8 * kWords, count = (some + 7) / 8;
    words[count - 1] = 0;
    std::memcpy(words, codes + first, some);
    join(words, count, bits);
    for (std::size_t i = 0; i < count; ++i, out += bits) {
      const auto left = static_cast<std::size_t>(end - out);
      std::memcpy(out, words + i, left >= 8 ? 8 : left < bits ? left : bits);  // the next word goes over what is too much
    }
  }
}

void unpack(const std::uint8_t* packed, std::size_t n, unsigned bits, std::uint8_t* codes) {
  if (bits == 8) {
    if (n > 0) std::memcpy(codes, packed, n);
    return;
  }
  const std::uint8_t* const end = packed + packed_size(n, bits);
  std::uint64_t words[kWords];
  for (std::size_t first = 0; first < n; first += 8 * kWords) {
    const std::size_t some = n - first < 8 * kWords ? n - first : 8 * kWords, count = (some + 7) / 8;
    for (std::size_t i = 0; i < count; ++i, packed += bits) {
      const auto left = static_cast<std::size_t>(end - packed);
      words[i] = 0;
      if (left >= 8) {
        std::memcpy(words + i, packed, 8);
      } else {
        std::memcpy(words + i, packed, left);
      }
    }
    part(words, count, bits);
    std::memcpy(codes + first, words, some);
  }
}

}  // namespace sslmed::federated
