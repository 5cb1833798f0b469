#pragma once
// The first bytes of a deflate stream (RFC 1951). libdeflate gives all of the output or nothing; a header needs a few hundred
// bytes, before anybody knows how much memory the rest takes.

#include <cstddef>
#include <cstdint>

namespace sslmed::io {

struct InflateStart {
  enum Status { kWhole, kFull, kInputEnds, kDamaged } status = kWhole;  // kFull: `room` bytes were written and more may follow
  std::size_t read = 0, written = 0;                                    // `read` holds when the status is kWhole
};

// Slow (one bit at a time) and small: meant for a few KiB.
InflateStart inflate_start(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room);

}  // namespace sslmed::io
