#include "io/zip.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/error.h"
#include "io/gzip.h"
#include "io/inflate_start.h"

namespace sslmed::io {
namespace {

constexpr std::uint32_t kLocalMark = 0x04034b50, kEntryMark = 0x02014b50, kEndMark = 0x06054b50, kEnd64Mark = 0x06064b50, kLocatorMark = 0x07064b50;
constexpr std::size_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kMostComment = 65535;
constexpr std::uint64_t kIn64 = 0xffffffff;   // the value is in the zip64 field
constexpr std::size_t kPieceOfStart = 16384;  // enough packed bytes for a header, unless a stream is strange

template <class T>
T zip_little(const std::uint8_t* bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(bytes[i]) << (8 * i));
  return value;
}
std::uint16_t zip_u16(const std::uint8_t* bytes) { return zip_little<std::uint16_t>(bytes); }
std::uint32_t zip_u32(const std::uint8_t* bytes) { return zip_little<std::uint32_t>(bytes); }
std::uint64_t zip_u64(const std::uint8_t* bytes) { return zip_little<std::uint64_t>(bytes); }

std::string of_member(const File& file, const ZipMember& member) { return file.path() + ": member " + quote(member.name); }

struct ZipDirectory {
  std::uint64_t begin = 0, size = 0, entries = 0;
};

// Where the directory is: the last record of the file says it, or for large archives the one that stands before it.
ZipDirectory find_directory(const File& file) {
  const auto refuse = [&](const std::string& found) { throw FormatError(file.path(), "a whole zip archive (.npz)", found); };
  if (file.size() < kEndBytes) refuse("a file of " + std::to_string(file.size()) + " bytes");
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kEndBytes + kMostComment + kLocatorBytes));
  std::vector<std::uint8_t> tail(size);
  file.read(tail.data(), size, file.size() - size);
  std::optional<std::size_t> end;
  for (std::size_t at = size - kEndBytes + 1; at-- > 0 && !end;)
    if (zip_u32(&tail[at]) == kEndMark && zip_u16(&tail[at + 20]) == size - at - kEndBytes) end = at;
  if (!end) refuse("no directory at its end (was the file cut?)");
  const std::uint8_t* record = &tail[*end];
  if (zip_u16(record + 4) != zip_u16(record + 6) || zip_u16(record + 8) != zip_u16(record + 10)) refuse("one part of an archive of several");
  ZipDirectory out{zip_u32(record + 16), zip_u32(record + 12), zip_u16(record + 10)};
  std::uint64_t directory_end = file.size() - size + *end;
  if (*end >= kLocatorBytes && zip_u32(record - kLocatorBytes) == kLocatorMark) {
    const std::uint64_t locator = directory_end - kLocatorBytes, at = zip_u64(record - kLocatorBytes + 8);
    std::array<std::uint8_t, kEnd64Bytes> large;
    if (at > locator || locator - at < kEnd64Bytes) refuse("a zip64 record at byte " + std::to_string(at) + ", outside of the file");
    file.read(large.data(), large.size(), at);
    if (zip_u32(large.data()) != kEnd64Mark || zip_u64(large.data() + 4) != locator - at - 12) refuse("no zip64 record at byte " + std::to_string(at));
    if (zip_u32(large.data() + 16) != zip_u32(large.data() + 20) || zip_u64(large.data() + 24) != zip_u64(large.data() + 32))
      refuse("one part of an archive of several");
    out = {zip_u64(large.data() + 48), zip_u64(large.data() + 40), zip_u64(large.data() + 32)};
    directory_end = at;
  }
  if (out.begin > directory_end || out.size != directory_end - out.begin)
    refuse("a directory of " + std::to_string(out.size) + " bytes at byte " + std::to_string(out.begin) + " that does not end at byte " +
           std::to_string(directory_end) + " (is something in front of the archive, or was it cut?)");
  if (out.entries > out.size / kEntryBytes) refuse(std::to_string(out.entries) + " entries in a directory of " + std::to_string(out.size) + " bytes");
  return out;
}

// Names are UTF-8 where the archive says so. Without that they are of code page 437, of which only the ASCII part is sure.
bool is_readable(const std::string& name, bool is_utf8) {
  for (std::size_t i = 0; i < name.size();) {
    const auto first = static_cast<unsigned char>(name[i]);
    if (first == 0) return false;
    const std::size_t more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 9;
    if ((more > 0 && !is_utf8) || more == 9 || name.size() - i <= more) return false;
    std::uint32_t code = more == 0 ? first : first & (0x3fU >> more);
    for (std::size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(name[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3fU);
    }
    constexpr std::array<std::uint32_t, 4> kLeast{0, 0x80, 0x800, 0x10000};
    if (code < kLeast[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += more + 1;
  }
  return !name.empty();
}

// Replaces values that a directory's entry has not by those of its zip64 field.
void take_zip64(const File& file, ZipMember& member, const std::uint8_t* extra, std::size_t size) {
  for (std::size_t at = 0; size - at >= 4;) {
    const std::size_t length = zip_u16(extra + at + 2);
    if (length > size - at - 4) break;
    if (zip_u16(extra + at) == 1) {
      std::size_t next = at + 4, left = length;
      for (std::uint64_t* value : {&member.size, &member.packed, &member.begin}) {
        if (*value != kIn64) continue;
        if (left < 8) throw FormatError(of_member(file, member), "sizes of 64 bits", "a zip64 field of " + std::to_string(length) + " bytes");
        *value = zip_u64(extra + next);
        next += 8;
        left -= 8;
      }
      return;
    }
    at += 4 + length;
  }
}

// `begin` is still that of the local header, which the name is compared with.
void settle_begin(const File& file, ZipMember& member, std::uint64_t directory) {
  std::array<std::uint8_t, kLocalBytes> local;
  const std::string where = of_member(file, member);
  if (member.begin > directory || directory - member.begin < kLocalBytes)
    throw FormatError(where, "a header before the archive's directory at byte " + std::to_string(directory), "byte " + std::to_string(member.begin));
  file.read(local.data(), local.size(), member.begin);
  if (zip_u32(local.data()) != kLocalMark) throw FormatError(where, "a header at byte " + std::to_string(member.begin), "other bytes");
  const std::size_t name = zip_u16(local.data() + 26), extra = zip_u16(local.data() + 28);
  const std::uint64_t room = directory - member.begin - kLocalBytes;
  if (name + extra > room || member.packed > room - name - extra)
    throw FormatError(where, std::to_string(member.packed) + " bytes before the archive's directory at byte " + std::to_string(directory),
                      std::to_string(room) + " bytes after its header at byte " + std::to_string(member.begin));
  std::string own(name, '\0');
  file.read(own.data(), name, member.begin + kLocalBytes);
  if (own != member.name) throw FormatError(where, "that name in front of its bytes", quote(own));
  member.begin += kLocalBytes + name + extra;
}

void check_entry(const File& file, const ZipMember& member, unsigned flags, unsigned method) {
  const std::string where = of_member(file, member);
  if (flags & (1U | 1U << 5 | 1U << 6 | 1U << 13)) throw FormatError(where, "bytes that are not encrypted or patched", "flags " + std::to_string(flags));
  if (method != 0 && method != 8)
    throw FormatError(where, "a stored or deflated member, as numpy.savez and savez_compressed write it", "zip method " + std::to_string(method));
  if (method == 0 && member.packed != member.size)
    throw FormatError(where, "a stored member of " + std::to_string(member.size) + " bytes", std::to_string(member.packed) + " bytes");
  if (method == 8 && member.size > most_gunzipped(member.packed))
    throw FormatError(where, std::to_string(member.size) + " bytes, as the directory has it",
                      std::to_string(member.packed) + " compressed bytes, which cannot hold as many");
}

void refuse_overlaps(const File& file, std::vector<std::pair<std::uint64_t, const ZipMember*>>& starts) {
  std::sort(starts.begin(), starts.end());
  for (std::size_t i = 1; i < starts.size(); ++i)
    if (const auto& before = *starts[i - 1].second; before.begin + before.packed > starts[i].first)
      throw FormatError(of_member(file, *starts[i].second), "bytes of its own", "an overlap with " + quote(before.name));
}

}  // namespace

std::vector<ZipMember> zip_members(const File& file) {
  const auto directory = find_directory(file);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(directory.size));
  file.read(bytes.data(), bytes.size(), directory.begin);
  std::vector<ZipMember> out;
  std::vector<std::uint64_t> headers;
  std::size_t at = 0;
  for (std::uint64_t number = 0; number < directory.entries; ++number) {
    const std::string where = file.path() + ": entry " + std::to_string(number) + " of the archive's directory";
    const std::uint8_t* entry = bytes.data() + at;
    if (bytes.size() - at < kEntryBytes || zip_u32(entry) != kEntryMark) throw FormatError(where, "a zip entry", "other bytes");
    const unsigned flags = zip_u16(entry + 8);
    const std::size_t name = zip_u16(entry + 28), extra = zip_u16(entry + 30), comment = zip_u16(entry + 32), left = bytes.size() - at - kEntryBytes;
    if (name + extra + comment > left) throw FormatError(where, std::to_string(name + extra + comment) + " bytes of text", std::to_string(left) + " bytes");
    ZipMember member{std::string(reinterpret_cast<const char*>(entry) + kEntryBytes, name),
                     zip_u16(entry + 10) == 8,
                     zip_u32(entry + 16),
                     zip_u32(entry + 20),
                     zip_u32(entry + 24),
                     zip_u32(entry + 42)};
    at += kEntryBytes + name + extra + comment;
    if (!is_readable(member.name, (flags & 1U << 11) != 0)) throw FormatError(where, "a name in UTF-8 or ASCII", quote(member.name));
    take_zip64(file, member, entry + kEntryBytes + name, extra);
    if (member.name.back() == '/') continue;
    check_entry(file, member, flags, zip_u16(entry + 10));
    headers.push_back(member.begin);
    settle_begin(file, member, directory.begin);
    out.push_back(std::move(member));
  }
  if (at != bytes.size())
    throw FormatError(file.path(), std::to_string(directory.entries) + " entries in the archive's directory",
                      std::to_string(bytes.size() - at) + " bytes more");
  std::vector<std::pair<std::uint64_t, const ZipMember*>> starts;
  for (std::size_t i = 0; i < out.size(); ++i) starts.emplace_back(headers[i], &out[i]);
  refuse_overlaps(file, starts);
  return out;
}

std::size_t zip_start(const File& file, const ZipMember& member, std::uint8_t* into, std::size_t room) {
  if (!member.is_deflated) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(room, member.size));
    file.read(into, size, member.begin);
    return size;
  }
  InflateStart found;
  for (std::uint64_t piece = std::min<std::uint64_t>(kPieceOfStart, member.packed);; piece = member.packed) {
    RawBytes packed(static_cast<std::size_t>(piece));
    file.read(packed.data.get(), packed.size, member.begin);
    found = inflate_start(packed.data.get(), packed.size, into, room);
    if (found.status != InflateStart::kInputEnds || piece == member.packed) break;
  }
  if (found.status == InflateStart::kDamaged) throw FormatError(of_member(file, member), "a deflate stream", "damaged data at its start");
  return found.written;
}

void zip_read(const File& file, const ZipMember& member, std::uint8_t* into) {
  const auto size = static_cast<std::size_t>(member.size);
  if (!member.is_deflated) {
    file.read(into, size, member.begin);
  } else {
    RawBytes packed(static_cast<std::size_t>(member.packed));
    file.read(packed.data.get(), packed.size, member.begin);
    if (!inflate_raw(packed.data.get(), packed.size, into, size))
      throw FormatError(of_member(file, member), "a deflate stream of " + std::to_string(packed.size) + " bytes that holds " + std::to_string(size),
                        "damaged or missing data (was the file cut?)");
  }
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // a fuzzer would find nothing behind a checksum
  if (const auto found = crc32(into, size); found != member.crc)
    throw FormatError(of_member(file, member), "bytes with the checksum " + std::to_string(member.crc), std::to_string(found) + ": the file is damaged");
#endif
}

}  // namespace sslmed::io
