#pragma once
// Random words of a codec. They are part of what travels: sender and receiver, of two versions of the library, must draw
// the same ones, so they have a key of their own and do not follow the streams of a run (core/random.h).

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/random.h"

namespace sslmed::federated {

// What words are for. The numbers are part of the format: append, never renumber.
enum class Purpose : std::uint32_t { kSigns = 0, kRounding = 1, kMask = 2, kStart = 3 };

inline constexpr std::size_t kWordsAtOnce = 4 * Philox::kBlocks;

// Word i is word i % 4 of Philox4x32-10 with the counter (i / 4, group), 64 bits each, under a key that is the first two
// words of Philox4x32-10 with the counter (seed, 64 bits; purpose; 1) and the key 0.
class Words {
 public:
  Words(std::uint64_t seed, Purpose purpose, std::uint64_t group) : group_(group) {
    const auto key = philox4x32({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), static_cast<std::uint32_t>(purpose), 1}, {0, 0});
    key_ = {key[0], key[1]};
  }

  // At least the next n words; `out` has room for n rounded up to kWordsAtOnce, and the call after it goes on from there.
  void take(std::uint32_t* out, std::size_t n) {
    for (std::size_t done = 0; done < n; done += kWordsAtOnce, block_ += Philox::kBlocks) philox_words(block_, group_, key_, out + done);
  }

 private:
  std::array<std::uint32_t, 2> key_{};
  std::uint64_t group_, block_ = 0;
};

}  // namespace sslmed::federated
