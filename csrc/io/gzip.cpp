#include "io/gzip.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#ifdef SSLMED_DEFLATE
#include <libdeflate.h>
#endif

#include "core/error.h"
#include "io/inflate_start.h"

namespace sslmed::io {
namespace {

constexpr std::size_t kSmallestMember = 18;  // header 10, trailer 8

#ifndef SSLMED_DEFLATE
[[noreturn]] void no_deflate(const std::string& path) {
  throw std::runtime_error(path + (path.empty() ? "" : ": ") +
                           "this build of sslmed has no libdeflate and cannot read or write .gz files: install its "
                           "headers (Debian: libdeflate-dev) "
                           "and build sslmed again");
}
#endif

[[noreturn]] void refuse_gzip(const std::string& path, std::size_t at, std::size_t size) {
  throw FormatError(path, "a whole gzip stream with the right checksum",
                    "damaged or missing data in the member at byte " + std::to_string(at) + " of " + std::to_string(size) + " (was the file cut?)");
}

// Where the deflate stream of the member at `at` begins; `size` when the header does not end.
std::size_t after_gzip_header(const std::uint8_t* bytes, std::size_t size, std::size_t at) {
  if (size - at < kSmallestMember) return size;
  const unsigned flags = bytes[at + 3];
  std::size_t next = at + 10;
  if (flags & 4) {  // extra field
    if (size - next < 2) return size;
    next += 2 + static_cast<std::size_t>(bytes[next]) + 256 * static_cast<std::size_t>(bytes[next + 1]);
  }
  for (const unsigned flag : {8U, 16U}) {  // name, comment
    if (!(flags & flag)) continue;
    while (next < size && bytes[next] != 0) ++next;
    ++next;
  }
  if (flags & 2) next += 2;  // checksum of the header
  return std::min(next, size);
}

// Behind the two bytes of zlib's header; the checksum at the end is not looked at.
bool inflate_first(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  return size > 2 && (bytes[0] & 15) == 8 && inflate_start(bytes + 2, size - 2, into, room).written == room;
}

}  // namespace

bool is_gzip(const std::uint8_t* bytes, std::size_t size) noexcept { return size >= 3 && bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == 8; }

std::uint64_t most_gunzipped(std::uint64_t size) noexcept { return size > (std::uint64_t{1} << 50) ? std::uint64_t{1} << 62 : size * 1032; }

std::size_t gunzip_start(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  std::size_t done = 0, at = 0;
  while (done < room && is_gzip(bytes + at, size - at)) {
    const auto begin = after_gzip_header(bytes, size, at);
    const auto found = inflate_start(bytes + begin, size - begin, into + done, room - done);
    if (found.status == InflateStart::kDamaged) refuse_gzip(path, at, size);
    done += found.written;
    if (found.status == InflateStart::kInputEnds) break;
    at = begin + found.read;
    if (size - at < 8) break;  // checksum and length, which gunzip() looks at
    at += 8;
  }
  return done;
}

std::uint32_t crc32_by_table(const std::uint8_t* bytes, std::size_t size) noexcept {
  static constexpr auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1U ? 0xedb88320U : 0U);
    }
    return table;
  }();
  std::uint32_t sum = ~0U;
  for (std::size_t i = 0; i < size; ++i) sum = sum >> 8 ^ kTable[(sum ^ bytes[i]) & 255U];
  return ~sum;
}

#ifdef SSLMED_DEFLATE

bool deflate_available() noexcept { return true; }

Gunzipped gunzip(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> engine(libdeflate_alloc_decompressor(),
                                                                                                 &libdeflate_free_decompressor);
  if (!engine) throw std::bad_alloc();
  Gunzipped out;
  std::size_t at = 0;
  do {
    std::size_t read = 0, written = 0;
    const auto result = libdeflate_gzip_decompress_ex(engine.get(), bytes + at, size - at, into + out.size, room - out.size, &read, &written);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
      out.has_more = true;
      return out;
    }
    if (result != LIBDEFLATE_SUCCESS) refuse_gzip(path, at, size);
    at += read;
    out.size += written;
  } while (is_gzip(bytes + at, size - at));
  if (std::any_of(bytes + at, bytes + size, [](std::uint8_t byte) { return byte != 0; }))
    throw FormatError(path, "the end of the file after the gzip stream", std::to_string(size - at) + " bytes more at byte " + std::to_string(at));
  return out;
}

bool inflate_zlib(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> engine(libdeflate_alloc_decompressor(),
                                                                                                 &libdeflate_free_decompressor);
  if (!engine) throw std::bad_alloc();
  std::size_t written = 0;
  const auto result = libdeflate_zlib_decompress(engine.get(), bytes, size, into, room, &written);
  return result == LIBDEFLATE_INSUFFICIENT_SPACE ? inflate_first(bytes, size, into, room) : result == LIBDEFLATE_SUCCESS && written == room;
}

bool inflate_raw(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> engine(libdeflate_alloc_decompressor(),
                                                                                                 &libdeflate_free_decompressor);
  if (!engine) throw std::bad_alloc();
  std::size_t read = 0, written = 0;
  const auto result = libdeflate_deflate_decompress_ex(engine.get(), bytes, size, into, room, &read, &written);
  return result == LIBDEFLATE_SUCCESS && read == size && written == room;
}

std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size) noexcept { return libdeflate_crc32(0, bytes, size); }

std::vector<std::uint8_t> gzip(const std::uint8_t* bytes, std::size_t size, int level) {
  require(level >= 0 && level <= 12, "compression", level, "must be a level from 0 to 12");
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> engine(libdeflate_alloc_compressor(level), &libdeflate_free_compressor);
  if (!engine) throw std::bad_alloc();
  std::vector<std::uint8_t> out(libdeflate_gzip_compress_bound(engine.get(), size));
  out.resize(libdeflate_gzip_compress(engine.get(), bytes, size, out.data(), out.size()));
  return out;
}

#else

bool deflate_available() noexcept { return false; }

Gunzipped gunzip(const std::string& path, const std::uint8_t*, std::size_t, std::uint8_t*, std::size_t) { no_deflate(path); }

bool inflate_zlib(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) { return inflate_first(bytes, size, into, room); }

bool inflate_raw(const std::uint8_t* bytes, std::size_t size, std::uint8_t* into, std::size_t room) {
  const auto found = inflate_start(bytes, size, into, room);
  return found.status == InflateStart::kWhole && found.read == size && found.written == room;
}

std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size) noexcept { return crc32_by_table(bytes, size); }

std::vector<std::uint8_t> gzip(const std::uint8_t*, std::size_t, int) { no_deflate(""); }

#endif

}  // namespace sslmed::io
