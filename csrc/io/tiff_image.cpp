#include "io/tiff_image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>

#include "core/error.h"
#include "io/gzip.h"
#include "io/jpeg.h"

namespace sslmed::io {
namespace {

enum PageTag : std::uint64_t {
  kWidth = 256,
  kHeight = 257,
  kBits = 258,
  kCompression = 259,
  kPhotometric = 262,
  kFillOrder = 266,
  kStripOffsets = 273,
  kOrientation = 274,
  kSamples = 277,
  kRowsPerStrip = 278,
  kStripSizes = 279,
  kPlanar = 284,
  kPredictor = 317,
  kColorMap = 320,
  kTileWidth = 322,
  kTileHeight = 323,
  kPartOffsets = 324,
  kPartSizes = 325,
  kSampleFormat = 339,
  kTables = 347,
};  // clang-format off
enum PageCompression { kNone = 1, kLzw = 5, kTiffJpeg = 7, kDeflate = 8, kPackBits = 32773, kOldDeflate = 32946 };
enum PagePhotometric { kWhiteIsZero = 0, kBlackIsZero = 1, kPageRgb = 2, kPalette = 3, kYcbcr = 6 };
// clang-format on

using Bytes = std::vector<std::uint8_t>;

// The first directory, as lists of numbers by tag.
class Page {
 public:
  Page(const std::string& name, const Bytes& file) : name_(name), file_(file) {
    if (file.size() < 16) fail("a TIFF image", std::to_string(file.size()) + " bytes");
    big_endian_ = file[0] == 'M';
    big_ = number(2, 2) == 43;
    const std::size_t width = big_ ? 8 : 4, entry = big_ ? 20 : 12, head = big_ ? 8 : 2;
    const auto at = number(big_ ? 8 : 4, width);
    if (at > file.size() || file.size() - at < head) fail("a TIFF directory within the file", "one at byte " + std::to_string(at));
    const auto count = number(at, head);
    if (count > 4096 || file.size() - at - head < count * entry + width) fail("a whole TIFF directory", "one of " + std::to_string(count) + " entries");
    for (std::size_t i = 0; i < count; ++i) read(at + head + i * entry, width);
    more_ = number(at + head + count * entry, width) != 0;
  }

  bool big_endian() const { return big_endian_; }
  bool more() const { return more_; }
  bool has(PageTag tag) const { return lists_.contains(tag); }
  std::uint64_t single(PageTag tag, std::uint64_t otherwise) const {
    const auto found = lists_.find(tag);
    return found == lists_.end() || found->second.empty() ? otherwise : found->second.front();
  }
  const std::vector<std::uint64_t>& list(PageTag tag) const {
    static const std::vector<std::uint64_t> kNothing;
    const auto found = lists_.find(tag);
    return found == lists_.end() ? kNothing : found->second;
  }
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const { throw FormatError(name_, expected, found); }

 private:
  std::uint64_t number(std::size_t at, std::size_t bytes) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(file_[at + i]) << (8 * (big_endian_ ? bytes - 1 - i : i));
    return value;
  }
  void read(std::size_t entry, std::size_t width) {
    constexpr std::array<std::size_t, 19> kSizes{0, 1, 1, 2, 4, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 8, 0, 8};  // those of whole numbers
    const auto tag = number(entry, 2), type = number(entry + 2, 2), count = number(entry + 4, width);
    const std::size_t size = type < kSizes.size() ? kSizes[type] : 0;
    if (size == 0 || (type == 2)) return;
    if (count > file_.size() / size) fail("values of TIFF tag " + std::to_string(tag) + " that fit the file", std::to_string(count));
    std::size_t at = entry + 4 + width;
    if (count * size > width) at = number(at, width);
    if (at > file_.size() || file_.size() - at < count * size)
      fail("values of TIFF tag " + std::to_string(tag) + " within the file", "an offset of " + std::to_string(at));
    auto& list = lists_[tag];
    list.resize(count);
    for (std::size_t i = 0; i < count; ++i) list[i] = number(at + i * size, size);
  }

  const std::string& name_;
  const Bytes& file_;
  bool big_endian_ = false, big_ = false, more_ = false;
  std::map<std::uint64_t, std::vector<std::uint64_t>> lists_;
};

// TIFF's LZW: codes of 9 to 12 bits, the highest bit first, and a width that changes one code early. False where the codes cannot be.
bool lzw(const std::uint8_t* from, std::size_t size, Bytes& to, std::size_t wanted) {
  constexpr unsigned kClear = 256, kEnd = 257, kFirst = 258;
  std::vector<std::pair<std::size_t, std::size_t>> entries(4096);  // where in `to` an entry's bytes are, and how many
  unsigned next = kFirst, width = 9;
  std::size_t bit = 0, before = 0, before_size = 0;
  while (to.size() < wanted) {
    if (bit + width > 8 * size) return false;
    unsigned code = 0;
    for (unsigned i = 0; i < width; ++i, ++bit) code = code << 1 | (from[bit / 8] >> (7 - bit % 8) & 1U);
    if (code == kEnd) return true;
    if (code == kClear) {
      next = kFirst, width = 9, before_size = 0;
      continue;
    }
    const auto start = to.size();
    if (code < 256) {
      to.push_back(static_cast<std::uint8_t>(code));
    } else {
      if (code < kFirst || code > next || before_size == 0 || (code == next && next >= 4096)) return false;
      const auto [at, length] = code == next ? std::pair(before, before_size + 1) : entries[code];
      for (std::size_t i = 0; i < length; ++i) to.push_back(to[at + i]);
    }
    if (before_size > 0 && next < 4096) entries[next++] = {before, before_size + 1};
    before = start;
    before_size = to.size() - start;
    width = next + 1 >= 2048 ? 12 : next + 1 >= 1024 ? 11 : next + 1 >= 512 ? 10 : 9;
  }
  return true;
}

bool pack_bits(const std::uint8_t* from, std::size_t size, Bytes& to, std::size_t wanted) {
  for (std::size_t at = 0; to.size() < wanted;) {
    if (at >= size) return false;
    const int n = static_cast<std::int8_t>(from[at++]);
    if (n == -128) continue;
    const auto count = static_cast<std::size_t>(n >= 0 ? n + 1 : 1 - n);
    if (at + (n >= 0 ? count : 1) > size) return false;
    if (n >= 0) {
      to.insert(to.end(), from + at, from + at + count);
      at += count;
    } else {
      to.insert(to.end(), count, from[at++]);
    }
  }
  return true;
}

struct Layout {
  std::size_t width, height, samples, bits, compression, photometric, part_width, part_height, columns, rows, predictor;
  std::size_t bytes() const { return bits / 8; }
};

Layout layout_of(const Page& page) {
  const bool tiled = page.has(kTileWidth);
  Layout l{page.single(kWidth, 0),
           page.single(kHeight, 0),
           page.single(kSamples, 1),
           page.single(kBits, 1),
           page.single(kCompression, 1),
           page.single(kPhotometric, 1),
           0,
           0,
           0,
           0,
           page.single(kPredictor, 1)};
  const auto limit = static_cast<std::size_t>(kMostPixels);
  const auto size_text = std::to_string(l.width) + " x " + std::to_string(l.height);
  if (l.width < 1 || l.height < 1 || l.width > limit || l.height > limit / l.width) page.fail("a TIFF image of 1 to 2^28 pixels", size_text);
  if (l.samples < 1 || l.samples > 4 || (l.bits != 8 && l.bits != 16) || page.single(kSampleFormat, 1) > 1 || (page.single(kPlanar, 1) != 1 && l.samples > 1) ||
      page.single(kFillOrder, 1) != 1)
    page.fail("a TIFF image of 1 to 4 interleaved whole numbers of 8 or 16 bits a pixel (convert it to PNG)",
              std::to_string(l.samples) + " of " + std::to_string(l.bits) + " bits, sample format " + std::to_string(page.single(kSampleFormat, 1)) +
                  ", planar configuration " + std::to_string(page.single(kPlanar, 1)));
  if (l.photometric > kPalette && !(l.photometric == kYcbcr && l.compression == kTiffJpeg))
    page.fail("a TIFF image in gray, RGB or with a palette (convert it to PNG)", "photometric interpretation " + std::to_string(l.photometric));
  if (l.predictor > 2) page.fail("TIFF predictor 1 or 2 (convert it to PNG)", std::to_string(l.predictor));
  l.part_width = tiled ? page.single(kTileWidth, 0) : l.width;
  l.part_height = tiled ? page.single(kTileHeight, 0) : std::min<std::size_t>(page.single(kRowsPerStrip, l.height), l.height);
  if (l.part_width < 1 || l.part_height < 1 || l.part_width > limit || l.part_height > limit / l.part_width)
    page.fail("TIFF strips or tiles of 1 to 2^28 pixels", std::to_string(l.part_width) + " x " + std::to_string(l.part_height));
  l.columns = (l.width + l.part_width - 1) / l.part_width;
  l.rows = (l.height + l.part_height - 1) / l.part_height;
  return l;
}

// One strip or tile as the file has it before compression; `height` rows of it.
void unpack(const Page& page, const std::string& name, const Layout& l, const std::uint8_t* from, std::size_t size, std::size_t height, const Bytes& tables,
            Bytes& to) {
  const std::size_t stride = l.part_width * l.samples * l.bytes(), wanted = stride * height;
  to.clear();
  bool whole = true;
  switch (l.compression) {
    case kNone:
      whole = size >= wanted;
      if (whole) to.assign(from, from + wanted);
      break;
    case kLzw:
      whole = lzw(from, size, to, wanted);
      break;
    case kPackBits:
      whole = pack_bits(from, size, to, wanted);
      break;
    case kDeflate:
    case kOldDeflate:
      to.resize(wanted);
      whole = inflate_zlib(from, size, to.data(), wanted);
      break;
    case kTiffJpeg: {
      to.resize(wanted);
      const JpegBytes jpeg{from, size, &tables, l.photometric == kYcbcr ? JpegColour::kYcc : JpegColour::kRgb};
      const ImageSize expected{static_cast<std::int64_t>(l.part_width), static_cast<std::int64_t>(height), static_cast<std::int64_t>(l.samples)};
      jpeg_decode(name, jpeg, {0, 0, expected.width, expected.height}, to.data(), stride, expected);
      break;
    }
    default:
      page.fail("a TIFF image without compression, or with LZW, Deflate, PackBits or JPEG (convert it to PNG)", "compression " + std::to_string(l.compression));
  }
  if (!whole || to.size() < wanted) page.fail("whole strips or tiles in a TIFF image", "one that is damaged or ends early");
}

// Values in the machine's order, differences added up.
void settle(const Layout& l, bool big_endian, std::size_t height, Bytes& part) {
  const std::size_t row = l.part_width * l.samples;
  if (l.bits == 16 && big_endian)
    for (std::size_t i = 0; i + 1 < part.size(); i += 2) std::swap(part[i], part[i + 1]);
  if (l.predictor != 2 || l.compression == kNone || l.compression == kTiffJpeg) return;
  for (std::size_t y = 0; y < height; ++y) {
    std::uint8_t* line = part.data() + y * row * l.bytes();
    for (std::size_t i = l.samples; i < row; ++i) {
      if (l.bits == 8) {
        line[i] = static_cast<std::uint8_t>(line[i] + line[i - l.samples]);
      } else {
        std::uint16_t a = 0, b = 0;
        std::memcpy(&a, line + 2 * (i - l.samples), 2);
        std::memcpy(&b, line + 2 * i, 2);
        b = static_cast<std::uint16_t>(b + a);
        std::memcpy(line + 2 * i, &b, 2);
      }
    }
  }
}

// Palettes become RGB, and white at zero becomes black at zero.
void in_light(const Page& page, const Layout& l, Image& image) {
  if (l.photometric == kWhiteIsZero) {
    for (auto& byte : image.bytes) byte = static_cast<std::uint8_t>(255 - byte);
  }
  if (l.photometric != kPalette) return;
  const auto& map = page.list(kColorMap);
  if (l.bits != 8 || l.samples != 1 || map.size() != 768) page.fail("a TIFF palette of 3 x 256 colors", std::to_string(map.size()) + " values");
  Bytes rgb(3 * image.bytes.size());
  for (std::size_t i = 0; i < image.bytes.size(); ++i)
    for (std::size_t c = 0; c < 3; ++c) rgb[3 * i + c] = static_cast<std::uint8_t>(map[256 * c + image.bytes[i]] >> 8);
  image.bytes = std::move(rgb);
  image.channels = 3;
}

}  // namespace

Image decode_tiff(const std::string& name, const Bytes& tiff, bool deep, std::vector<std::string>& salvaged, int& orientation) {
  const Page page(name, tiff);
  const auto l = layout_of(page);
  const bool tiled = page.has(kTileWidth);
  const auto &offsets = page.list(tiled ? kPartOffsets : kStripOffsets), &sizes = page.list(tiled ? kPartSizes : kStripSizes);
  if (offsets.size() < l.rows * l.columns || sizes.size() < l.rows * l.columns)
    page.fail("a place and a size for each of " + std::to_string(l.rows * l.columns) + " strips or tiles", std::to_string(offsets.size()) + " places");
  // What claims more pixels than its bytes can hold is not there: Deflate shrinks by a factor of 1,032 at most.
  if (l.width * l.height / 1032 / 8 > tiff.size()) page.fail("a TIFF image that " + std::to_string(tiff.size()) + " bytes can hold", "more pixels");
  const auto& stored = page.list(kTables);
  const Bytes tables(stored.begin(), stored.end());
  Image image{static_cast<std::int64_t>(l.width), static_cast<std::int64_t>(l.height), static_cast<std::int64_t>(l.samples), static_cast<int>(l.bits), {}};
  const std::size_t pixel = l.samples * l.bytes();
  image.bytes.resize(l.width * l.height * pixel);
  Bytes part;
  for (std::size_t i = 0; i < l.rows * l.columns; ++i) {
    const std::size_t y = i / l.columns * l.part_height, x = i % l.columns * l.part_width;
    const std::size_t height = tiled ? l.part_height : std::min(l.part_height, l.height - y);
    if (offsets[i] > tiff.size() || sizes[i] > tiff.size() - offsets[i])
      page.fail("strips or tiles within the file", "one at byte " + std::to_string(offsets[i]));
    unpack(page, name, l, tiff.data() + offsets[i], sizes[i], height, tables, part);
    settle(l, page.big_endian(), height, part);
    const std::size_t columns = std::min(l.part_width, l.width - x), rows = std::min(height, l.height - y);
    for (std::size_t row = 0; row < rows; ++row)
      std::copy_n(part.data() + row * l.part_width * pixel, columns * pixel, image.bytes.data() + ((y + row) * l.width + x) * pixel);
  }
  in_light(page, l, image);
  orientation = static_cast<int>(std::min<std::uint64_t>(page.single(kOrientation, 1), 9));
  if (page.more()) salvaged.emplace_back("a TIFF file of several pages, of which the first is read");
  if (!deep) to_bytes(image, salvaged);
  return image;
}

}  // namespace sslmed::io
