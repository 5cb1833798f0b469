#pragma once
// The directory of a zip archive and the bytes of its members.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"

namespace sslmed::io {

struct ZipMember {
  std::string name;
  bool is_deflated = false;
  std::uint32_t crc = 0;
  std::uint64_t packed = 0, size = 0;  // bytes in the file, and unpacked
  std::uint64_t begin = 0;             // of the packed bytes, from the start of the file
};

// The files of an archive in the order of its directory, without folders. FormatError for archives that are damaged, encrypted, of several disks or have
// bytes in front of them, for members that overlap, and for other methods than stored and deflated. Sizes are those of the directory, so
// that data descriptors are not needed.
std::vector<ZipMember> zip_members(const File& file);

// The first bytes of a member, at most `room`; how many there are is returned.
std::size_t zip_start(const File& file, const ZipMember& member, std::uint8_t* into, std::size_t room);

// All `member.size` bytes. FormatError where they are damaged or their checksum is another.
void zip_read(const File& file, const ZipMember& member, std::uint8_t* into);

}  // namespace sslmed::io
