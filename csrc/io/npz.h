#pragma once
// NumPy's .npz archives: a zip file (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT) of .npy arrays, stored or
// deflated, with zip64 sizes and data descriptors. No pickle: nothing in it can execute.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/npy.h"
#include "io/zip.h"

namespace sslmed::io {

struct NpzArray {
  std::string name;  // without ".npy"
  NpyHeader header;
  ZipMember member;
};

class NpzFile {
 public:
  // Reads the directory and the headers of these arrays, or of all, and checks that their sizes agree. What other arrays hold does not
  // matter. FormatError (also where a name is missing) or ReadError.
  explicit NpzFile(const std::string& path, const std::optional<std::vector<std::string>>& names = std::nullopt);

  // In the order of the names, or else of the archive.
  const std::vector<NpzArray>& arrays() const noexcept { return arrays_; }
  // Bytes of memory that read() needs: a little more than the values.
  static std::size_t room(const NpzArray& array) noexcept;
  // Writes an array to room() bytes and checks its checksum; gives the byte of the first value there, a multiple of 64. Values are
  // little-endian, in the file's order of axes.
  std::size_t read(const NpzArray& array, std::uint8_t* into) const;

 private:
  std::string where(const std::string& name) const;
  NpzArray describe(const std::string& name, const ZipMember& member) const;

  File file_;
  std::vector<NpzArray> arrays_;
};

}  // namespace sslmed::io
