#pragma once
// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A draw is a pure function of (seed, epoch, sample index, stream), so it is the same in any thread, rank or resumed run.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed {

// Which random decision a draw serves. The numbers are part of the reproducibility contract: append, never renumber.
enum class Stream : std::uint32_t {
  kOrder = 0,
  kWindow = 1,
  kMask = 2,
  kInit = 3,
  kAugment = 4,
  kBlockSize = 5,
  kSubset = 6,
  kDropPath = 7,
  kPicture = 8,
  kGrid = 9,
  kVolume = 10,
  kMaskRatio = 11,
  kSignal = 12
};

// Names one draw. Everything random in a run derives from such a name.
struct Draw {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::uint64_t index = 0;
  std::uint64_t batch = 0;  // number of the batch it is for; takes no part in the numbers, but names draws that a batch has in common
};

// The raw bijection: counter and key to four words.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

// A sequence of numbers under one name. Cheap to construct; holds no heap memory.
class Philox {
 public:
  // `many`: that more than a few words will be drawn. The words are the same; the first ones then come many at a time too.
  Philox(const Draw& draw, Stream stream, bool many = false);

  std::uint32_t next_u32() {
    if (used_ == size_) refill();
    return words_[used_++];
  }
  // Uniform in [0, bound) without bias (Lemire, 2019). bound must be positive.
  std::uint32_t below(std::uint32_t bound) {
    std::uint64_t product = static_cast<std::uint64_t>(next_u32()) * bound;
    auto low = static_cast<std::uint32_t>(product);
    if (low < bound) {
      const std::uint32_t threshold = (0u - bound) % bound;
      while (low < threshold) {
        product = static_cast<std::uint64_t>(next_u32()) * bound;
        low = static_cast<std::uint32_t>(product);
      }
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
  // Uniform in [0, 1) with 53 bits.
  double uniform() {
    const std::uint64_t high = next_u32() >> 5;
    const std::uint64_t low = next_u32() >> 6;
    return static_cast<double>(high * 67108864 + low) * (1.0 / 9007199254740992.0);
  }
  // Standard normal (Box-Muller; uses two uniforms a value so that the sequence has no hidden half).
  double normal();

  static constexpr unsigned kBlocks = 16;  // computed side by side in vector registers

 private:
  void refill();  // one block at first, since most draws need a word or two; kBlocks from then on
  void fill();

  std::array<std::uint32_t, 2> key_;
  std::uint64_t index_, next_block_ = 0;
  alignas(64) std::array<std::uint32_t, 4 * kBlocks> words_;
  unsigned used_ = 0, size_ = 0;
};

// The words of Philox::kBlocks consecutive blocks, four each, into out: block b has the counter (b, index), 64 bits each, low words first.
void philox_words(std::uint64_t first_block, std::uint64_t index, std::array<std::uint32_t, 2> key, std::uint32_t* out);

// A permutation of [0, n) under one name, place by place: no table, whatever n is. A Feistel network over the next power of
// four, walked on until it lands within n (Black and Rogaway, 2002).
class Shuffle {
 public:
  Shuffle(std::uint64_t n, const Draw& draw, Stream stream);
  std::uint64_t operator()(std::uint64_t i) const;  // i in [0, n)

 private:
  std::array<std::uint32_t, 8> keys_;
  std::uint64_t n_, mask_ = 1;
  int half_ = 3;  // bits; with fewer the network cannot reach all orders
};

}  // namespace sslmed
