#include "io/tiff.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "core/error.h"

namespace sslmed::io {
namespace {

enum Tag : std::uint64_t { kTileOffsets = 324, kTileSizes = 325, kJpegTables = 347, kNdpi = 65420 };

constexpr std::size_t kMostDirectories = 4096;
constexpr std::int64_t kMostSide = std::int64_t{1} << 31;
// A tile is decoded whole by whoever decodes it: 64 megapixels are beyond any scanner's.
constexpr std::int64_t kMostTileSide = 1 << 16, kMostTileArea = std::int64_t{1} << 26;
constexpr std::int64_t kMostShort = 65535;

// Tags that are one number, or several of which the first counts.
struct Field {
  std::uint64_t tag;
  std::int64_t TiffDirectory::*member;
  std::int64_t limit;
};
constexpr std::array<Field, 10> kFields{{{256, &TiffDirectory::width, kMostSide},
                                         {257, &TiffDirectory::height, kMostSide},
                                         {258, &TiffDirectory::bits, kMostShort},
                                         {259, &TiffDirectory::compression, kMostShort},
                                         {262, &TiffDirectory::photometric, kMostShort},
                                         {274, &TiffDirectory::orientation, kMostShort},
                                         {277, &TiffDirectory::samples, kMostShort},
                                         {284, &TiffDirectory::planar, kMostShort},
                                         {322, &TiffDirectory::tile_width, kMostTileSide},
                                         {323, &TiffDirectory::tile_height, kMostTileSide}}};

// Bytes of one value by its type's number; 0: no such type.
int size_of(std::uint64_t type) {
  constexpr std::array<int, 19> sizes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8};
  return type < sizes.size() ? sizes[type] : 0;
}

bool is_ndpi(const std::string& path) {
  const auto tail = path.size() < 5 ? std::string() : path.substr(path.size() - 5);
  return tail == ".ndpi" || tail == ".NDPI";
}

std::string pair_of(std::int64_t a, std::int64_t b) { return std::to_string(a) + " x " + std::to_string(b); }

}  // namespace

std::optional<TiffFile> TiffFile::open(const std::string& path) {
  TiffFile tiff{File(path)};
  if (tiff.file_.size() < 8) return std::nullopt;
  std::array<std::uint8_t, 4> magic{};
  tiff.file_.read(magic.data(), magic.size(), 0);
  if (magic[0] == 'M' && magic[1] == 'M') {
    tiff.big_endian_ = true;
  } else if (magic[0] != 'I' || magic[1] != 'I') {
    return std::nullopt;
  }
  const auto version = tiff.number(magic.data() + 2, 2);
  if (version != 42 && version != 43) return std::nullopt;
  tiff.big_ = version == 43;
  if (is_ndpi(path) || !tiff.read_directories()) return std::nullopt;
  return tiff;
}

std::uint64_t TiffFile::number(const std::uint8_t* at, int bytes) const {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(at[i]) << (8 * (big_endian_ ? bytes - 1 - i : i));
  return value;
}

bool TiffFile::read_directories() {
  const int width = big_ ? 8 : 4;
  std::array<std::uint8_t, 16> header{};
  if (file_.size() < (big_ ? 16U : 8U)) throw FormatError(file_.path(), "a TIFF header", "a file of " + std::to_string(file_.size()) + " bytes");
  file_.read(header.data(), big_ ? 16 : 8, 0);
  if (big_ && (number(header.data() + 4, 2) != 8 || number(header.data() + 6, 2) != 0))
    throw FormatError(file_.path(), "a BigTIFF header with offsets of 8 bytes", "another");
  std::uint64_t at = number(header.data() + (big_ ? 8 : 4), width);
  std::set<std::uint64_t> seen;
  while (at != 0) {
    if (!seen.insert(at).second) throw FormatError(file_.path(), "a chain of TIFF directories", "one that comes back to byte " + std::to_string(at));
    if (directories_.size() >= kMostDirectories) throw FormatError(file_.path(), "at most " + std::to_string(kMostDirectories) + " TIFF directories", "more");
    const auto next = read_directory(at);
    if (!next) return false;
    at = *next;
  }
  if (directories_.empty()) throw FormatError(file_.path(), "a TIFF directory", "none");
  for (std::size_t i = 0; i < directories_.size(); ++i) check(directories_[i], i);
  return true;
}

// The values that an entry holds or points at, as whole numbers.
std::vector<std::uint64_t> TiffFile::numbers(const std::uint8_t* entry, std::uint64_t limit) const {
  const auto type = number(entry + 2, 2);
  const int size = size_of(type);
  if (type != 1 && type != 3 && type != 4 && type != 13 && type != 16 && type != 18)
    throw FormatError(file_.path(), "whole numbers in TIFF tag " + std::to_string(number(entry, 2)), "values of type " + std::to_string(type));
  const auto raw = bytes(entry, limit * static_cast<std::uint64_t>(size));
  std::vector<std::uint64_t> values(raw.size() / static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = number(raw.data() + i * static_cast<std::size_t>(size), size);
  return values;
}

std::int64_t TiffFile::single(const std::uint8_t* entry, std::int64_t limit) const {
  const auto values = numbers(entry, 64);
  const auto most = std::max_element(values.begin(), values.end());
  if (values.empty() || *most > static_cast<std::uint64_t>(limit))
    throw FormatError(file_.path(), "TIFF tag " + std::to_string(number(entry, 2)) + " of at most " + std::to_string(limit),
                      values.empty() ? "nothing" : std::to_string(*most));
  return static_cast<std::int64_t>(values.front());
}

std::vector<std::uint8_t> TiffFile::bytes(const std::uint8_t* entry, std::uint64_t limit) const {
  const int size = size_of(number(entry + 2, 2)), width = big_ ? 8 : 4;
  const auto count = number(entry + 4, width);
  const std::string tag = std::to_string(number(entry, 2));
  if (size == 0) throw FormatError(file_.path(), "a known type of values in TIFF tag " + tag, std::to_string(number(entry + 2, 2)));
  const auto step = static_cast<std::uint64_t>(size);
  if (count > limit / step || count * step > file_.size())
    throw FormatError(file_.path(), "values of TIFF tag " + tag + " that fit the file", std::to_string(count) + " of them");
  std::vector<std::uint8_t> out(count * step);
  const std::uint8_t* field = entry + 4 + width;
  if (out.size() <= static_cast<std::size_t>(width)) {
    std::copy_n(field, out.size(), out.begin());
    return out;
  }
  const auto at = number(field, width);
  if (at > file_.size() - out.size())
    throw FormatError(file_.path(), "values of TIFF tag " + tag + " within " + std::to_string(file_.size()) + " bytes", "an offset of " + std::to_string(at));
  file_.read(out.data(), out.size(), at);
  return out;
}

std::optional<std::uint64_t> TiffFile::read_directory(std::uint64_t at) {
  const std::uint64_t width = big_ ? 8 : 4, entry_size = big_ ? 20 : 12, head = big_ ? 8 : 2;
  const auto fail = [&] {
    throw FormatError(file_.path(), "a TIFF directory within " + std::to_string(file_.size()) + " bytes", "one at byte " + std::to_string(at));
  };
  if (at > file_.size() || file_.size() - at < head) fail();
  std::array<std::uint8_t, 8> start{};
  file_.read(start.data(), head, at);
  const auto n = number(start.data(), static_cast<int>(head));
  if (n > 65535 || file_.size() - at - head < n * entry_size + width) fail();
  std::vector<std::uint8_t> entries(n * entry_size + width);
  file_.read(entries.data(), entries.size(), at + head);

  TiffDirectory directory;
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto* entry = entries.data() + i * entry_size;
    const auto tag = number(entry, 2);
    if (tag == kNdpi) return std::nullopt;
    if (tag == kTileOffsets) directory.offsets = numbers(entry, file_.size());
    if (tag == kTileSizes) directory.sizes = numbers(entry, file_.size());
    if (tag == kJpegTables) directory.jpeg_tables = bytes(entry, 1 << 16);
    for (const auto& known : kFields)
      if (tag == known.tag) directory.*known.member = single(entry, known.limit);
  }
  directories_.push_back(std::move(directory));
  return number(entries.data() + n * entry_size, static_cast<int>(width));
}

void TiffFile::check(TiffDirectory& d, std::size_t number) const {
  const std::string of = " in TIFF directory " + std::to_string(number);
  if (d.width < 1 || d.height < 1) throw FormatError(file_.path(), "an image with pixels" + of, pair_of(d.width, d.height));
  if ((d.tile_width > 0) != (d.tile_height > 0) || (!d.tiled() && !(d.offsets.empty() && d.sizes.empty())))
    throw FormatError(file_.path(), "tiles with two sides" + of, pair_of(d.tile_width, d.tile_height));
  if (!d.tiled()) return;
  if (d.tile_width * d.tile_height > kMostTileArea)
    throw FormatError(file_.path(), "tiles of at most " + std::to_string(kMostTileArea) + " pixels" + of, pair_of(d.tile_width, d.tile_height));
  const auto planes = static_cast<std::uint64_t>(d.planar == 2 ? std::max<std::int64_t>(d.samples, 1) : 1);
  const auto rows = static_cast<std::uint64_t>(d.rows()), columns = static_cast<std::uint64_t>(d.columns());
  // Each tile takes six bytes of tables at least, so a file cannot have more of them than bytes: no product overflows.
  const bool too_many = rows > file_.size() || columns > file_.size() || rows * columns > file_.size();
  const auto wanted = too_many ? 0 : rows * columns * planes;
  if (too_many || d.offsets.size() < wanted || d.sizes.size() < wanted)
    throw FormatError(file_.path(), "a place and a size for each of " + std::to_string(rows) + " x " + std::to_string(columns) + " tiles" + of,
                      std::to_string(d.offsets.size()) + " places and " + std::to_string(d.sizes.size()) + " sizes");
  d.offsets.resize(wanted);
  d.sizes.resize(wanted);
  const auto raw =
      static_cast<std::uint64_t>(d.tile_height) *
      ((static_cast<std::uint64_t>(d.tile_width) * static_cast<std::uint64_t>(d.bits) * static_cast<std::uint64_t>(d.planar == 2 ? 1 : d.samples) + 7) / 8);
  for (std::size_t i = 0; i < wanted; ++i) {
    if (d.sizes[i] == 0) continue;
    if (d.sizes[i] > file_.size() || d.offsets[i] > file_.size() - d.sizes[i])
      throw FormatError(file_.path(), "tile " + std::to_string(i) + of + " within " + std::to_string(file_.size()) + " bytes",
                        std::to_string(d.sizes[i]) + " bytes at " + std::to_string(d.offsets[i]));
    // A reader that takes what it needs, and not what is there, would go on into the next tile.
    if (d.compression == 1 && d.photometric != 6 && d.sizes[i] < raw)
      throw FormatError(file_.path(), std::to_string(raw) + " bytes in tile " + std::to_string(i) + of, std::to_string(d.sizes[i]));
  }
}

}  // namespace sslmed::io
