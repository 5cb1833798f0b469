#include "io/inflate_start.h"

#include <algorithm>
#include <array>

namespace sslmed::io {
namespace {

// The reasons to stop before the end.
struct Stop {
  InflateStart::Status status;
};

class InflateBits {
 public:
  InflateBits(const std::uint8_t* bytes, std::size_t size) : bytes_(bytes), size_(size) {}

  unsigned bits(int n) {
    unsigned value = 0;
    for (int i = 0; i < n; ++i) value |= bit() << i;
    return value;
  }
  unsigned bit() {
    if (at_ / 8 >= size_) throw Stop{InflateStart::kInputEnds};
    const unsigned value = bytes_[at_ / 8] >> (at_ % 8) & 1U;
    ++at_;
    return value;
  }
  void to_byte() { at_ = (at_ + 7) / 8 * 8; }
  std::size_t bytes_read() const { return (at_ + 7) / 8; }

 private:
  const std::uint8_t* bytes_;
  std::size_t size_, at_ = 0;  // at_ counts bits
};

// A canonical Huffman code: symbols in the order of their codes, and how many codes there are of each length.
class InflateCode {
 public:
  InflateCode(const std::uint8_t* lengths, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) ++counts_[lengths[i]];
    counts_[0] = 0;
    std::array<unsigned, 16> next{};
    int left = 1;
    for (std::size_t length = 1; length < 16; ++length) {
      left = 2 * left - static_cast<int>(counts_[length]);
      if (left < 0) throw Stop{InflateStart::kDamaged};  // more codes than bits can tell apart
      if (length < 15) next[length + 1] = next[length] + counts_[length];
    }
    for (std::size_t i = 0; i < n; ++i)
      if (lengths[i] != 0) symbols_[next[lengths[i]]++] = static_cast<std::uint16_t>(i);
  }
  unsigned next(InflateBits& in) const {
    unsigned code = 0, first = 0, before = 0;
    for (std::size_t length = 1; length < 16; ++length) {
      code = code << 1 | in.bit();
      if (code - first < counts_[length]) return symbols_[before + code - first];
      before += counts_[length];
      first = (first + counts_[length]) << 1;
    }
    throw Stop{InflateStart::kDamaged};
  }

 private:
  std::array<unsigned, 16> counts_{};
  std::array<std::uint16_t, 288> symbols_{};
};

class InflateOutput {
 public:
  InflateOutput(std::uint8_t* into, std::size_t room) : into_(into), room_(room) {}
  void put(unsigned byte) {
    if (written_ == room_) throw Stop{InflateStart::kFull};
    into_[written_++] = static_cast<std::uint8_t>(byte);
  }
  void repeat(std::size_t distance, std::size_t length) {
    if (distance > written_) throw Stop{InflateStart::kDamaged};
    for (; length > 0; --length) put(into_[written_ - distance]);
  }
  std::size_t written() const { return written_; }

 private:
  std::uint8_t* into_;
  std::size_t room_, written_ = 0;
};

void stored_block(InflateBits& in, InflateOutput& out) {
  in.to_byte();
  const unsigned size = in.bits(16), inverse = in.bits(16);
  if ((size ^ inverse) != 0xffff) throw Stop{InflateStart::kDamaged};
  for (unsigned i = 0; i < size; ++i) out.put(in.bits(8));
}

void coded_block(InflateBits& in, InflateOutput& out, const InflateCode& literals, const InflateCode& distances) {
  for (;;) {
    const unsigned symbol = literals.next(in);
    if (symbol < 256) {
      out.put(symbol);
      continue;
    }
    if (symbol == 256) return;
    if (symbol > 285) throw Stop{InflateStart::kDamaged};
    // Four lengths share each number of extra bits, two distances do; the first eight and four have none; 285 is 258 alone.
    const unsigned place = symbol - 257, extra = place < 8 || place == 28 ? 0 : place / 4 - 1;
    const unsigned length = place == 28 ? 258 : place < 8 ? 3 + place : 3 + ((4 + place % 4) << extra) + in.bits(static_cast<int>(extra));
    const unsigned far = distances.next(in);
    if (far > 29) throw Stop{InflateStart::kDamaged};
    const unsigned more = far < 4 ? 0 : far / 2 - 1;
    const unsigned distance = far < 4 ? 1 + far : 1 + ((2 + far % 2) << more) + in.bits(static_cast<int>(more));
    out.repeat(distance, length);
  }
}

void fixed_block(InflateBits& in, InflateOutput& out) {
  std::array<std::uint8_t, 288> lengths;
  for (std::size_t i = 0; i < 288; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  std::array<std::uint8_t, 30> fives;
  fives.fill(5);
  coded_block(in, out, {lengths.data(), 288}, {fives.data(), 30});
}

void dynamic_block(InflateBits& in, InflateOutput& out) {
  static constexpr std::array<std::uint8_t, 19> kOrder{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  const std::size_t literals = in.bits(5) + 257, distances = in.bits(5) + 1, codes = in.bits(4) + 4;
  std::array<std::uint8_t, 19> code_lengths{};
  for (std::size_t i = 0; i < codes; ++i) code_lengths[kOrder[i]] = static_cast<std::uint8_t>(in.bits(3));
  const InflateCode code(code_lengths.data(), code_lengths.size());
  std::array<std::uint8_t, 288 + 32> lengths{};
  for (std::size_t i = 0; i < literals + distances;) {
    const unsigned symbol = code.next(in);
    if (symbol < 16) {
      lengths[i++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && i == 0) throw Stop{InflateStart::kDamaged};
    const std::uint8_t value = symbol == 16 ? lengths[i - 1] : 0;
    const unsigned times = symbol == 16 ? 3 + in.bits(2) : symbol == 17 ? 3 + in.bits(3) : 11 + in.bits(7);
    if (i + times > literals + distances) throw Stop{InflateStart::kDamaged};
    std::fill_n(lengths.begin() + static_cast<std::ptrdiff_t>(i), times, value);
    i += times;
  }
  if (literals > 286) throw Stop{InflateStart::kDamaged};
  coded_block(in, out, {lengths.data(), literals}, {lengths.data() + literals, distances});
}

}  // namespace

InflateStart inflate_start(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  InflateBits in(bytes, size);
  InflateOutput out(into, room);
  try {
    bool last = false;
    while (!last) {
      last = in.bit() != 0;
      switch (in.bits(2)) {
        case 0:
          stored_block(in, out);
          break;
        case 1:
          fixed_block(in, out);
          break;
        case 2:
          dynamic_block(in, out);
          break;
        default:
          throw Stop{InflateStart::kDamaged};
      }
    }
  } catch (const Stop& stop) {
    return {stop.status, 0, out.written()};
  }
  return {InflateStart::kWhole, in.bytes_read(), out.written()};
}

}  // namespace sslmed::io
