#pragma once
// gzip (RFC 1952) through libdeflate, which works on whole buffers: the size of the output is known before it is made.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/huge_pages.h"

namespace sslmed::io {

// Bytes that are not set to zero first: they are about to be written.
struct RawBytes {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
  RawBytes() = default;
  explicit RawBytes(std::size_t n) : data(std::make_unique_for_overwrite<std::uint8_t[]>(n)), size(n) { ask_for_huge_pages(data.get(), n); }
};

// Whether this build can decompress and compress whole files.
bool deflate_available() noexcept;

bool is_gzip(const std::uint8_t* bytes, std::size_t size) noexcept;

// The most bytes that a gzip file of `size` bytes can hold: deflate's codes give at most 258 bytes for two bits.
std::uint64_t most_gunzipped(std::uint64_t size) noexcept;

// The first bytes of the output, at most `room`, without decompressing the rest; how many were found is returned. Fewer
// than `room` mean that the input ends before; FormatError where it is no gzip. Needs no library.
std::size_t gunzip_start(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room);

struct Gunzipped {
  std::size_t size = 0;   // bytes written
  bool has_more = false;  // the output has more bytes than there was room for
};

// Decompresses all members. Their checksums and lengths are checked; zeros may follow the last one, nothing else.
// FormatError for damaged, cut or trailing data; std::runtime_error in a build without libdeflate.
Gunzipped gunzip(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room);

// A zlib stream (RFC 1950) of exactly `room` bytes, or of which those are the first. False where it is damaged or ends before. Slow without libdeflate.
bool inflate_zlib(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room);

// A deflate stream without a header (RFC 1951), which takes all of `size` bytes and gives exactly `room`. False where it does not. Slow without libdeflate.
bool inflate_raw(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room);

// The checksum of gzip and zip.
std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size) noexcept;
// The same by a table, for builds without libdeflate.
std::uint32_t crc32_by_table(const std::uint8_t* bytes, std::size_t size) noexcept;

// One member without a name and with time 0, so that equal inputs give equal bytes. Levels 0 (stored) to 12.
std::vector<std::uint8_t> gzip(const std::uint8_t* bytes, std::size_t size, int level);

}  // namespace sslmed::io
