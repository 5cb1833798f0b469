#include "io/image.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "io/bmp.h"
#include "io/exif.h"
#include "io/jpeg.h"
#include "io/tiff_image.h"

namespace sslmed::io {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 31;

bool starts_with(const std::vector<std::uint8_t>& bytes, std::string_view start) {
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

bool is_tiff(const std::vector<std::uint8_t>& bytes) {
  for (const char* start : {"II*\0", "MM\0*", "II+\0", "MM\0+"})
    if (starts_with(bytes, {start, 4})) return true;
  return false;
}

// What a file is that is no image of ours, and what to do about it.
std::string other_kind(const std::vector<std::uint8_t>& bytes) {
  const auto at = [&bytes](std::size_t offset, std::string_view text) {
    return bytes.size() >= offset + text.size() && std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
  };
  if (bytes.empty()) return "an empty file";
  if (at(0, "version https://git-lfs")) return "a pointer of Git LFS: the image was not downloaded (git lfs pull)";
  const std::string convert = ": convert it to PNG (Pillow: Image.open(path).save('x.png'))";
  if (at(0, "RIFF") && at(8, "WEBP")) return "a WebP image" + convert;
  if (at(0, "GIF8")) return "a GIF image" + convert;
  if (at(4, "ftypheic") || at(4, "ftypavif") || at(4, "ftypmif1")) return "a HEIF or AVIF image" + convert;
  if (at(4, "jP  ") || at(0, "\xff\x4f\xff\x51")) return "a JPEG 2000 image" + convert;
  if (at(128, "DICM")) return "a DICOM image: convert a radiograph to PNG of 16 bits (pydicom's pixel_array with VOI LUT, or dcmj2pnm)";
  if (at(0, "SIMPLE  =")) return "a FITS image";
  return quote({reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 16)});
}

// Four inks as Pillow and browsers show them; Adobe's files, and nearly all others, store them inverted.
void to_rgb(Image& image) {
  std::uint8_t* to = image.bytes.data();
  for (std::size_t i = 0; i + 4 <= image.bytes.size(); i += 4, to += 3) {
    const auto* from = image.bytes.data() + i;
    for (std::size_t c = 0; c < 3; ++c) to[c] = static_cast<std::uint8_t>(from[3] - (2 * (255 - from[c]) * from[3] + 255) / 510);
  }
  image.channels = 3;
  image.bytes.resize(static_cast<std::size_t>(3 * image.width * image.height));
}

Image read_jpeg(const std::string& path, const std::vector<std::uint8_t>& bytes, const ImageOptions& options, std::vector<std::string>& salvaged) {
  const JpegBytes jpeg{bytes.data(), bytes.size()};
  const auto size = jpeg_size(path, jpeg);
  const auto sides = std::minmax(size.width, size.height);
  const auto least = 2 * options.side, most = options.longer ? sides.second : sides.first;
  std::int64_t shrink = 1;
  while (least > 0 && shrink < 8 && most / least >= 2 * shrink) shrink *= 2;
  Image image{(size.width + shrink - 1) / shrink, (size.height + shrink - 1) / shrink, size.channels, 8, {}};
  const auto stride = static_cast<std::size_t>(image.width * image.channels);
  image.bytes.resize(stride * static_cast<std::size_t>(image.height));
  jpeg_decode(path, jpeg, {0, 0, image.width, image.height}, image.bytes.data(), stride, size, &salvaged, static_cast<unsigned>(shrink));
  if (image.channels == 4) to_rgb(image);
  return image;
}

}  // namespace

Image read_image(const std::string& path, const ImageOptions& options, std::vector<std::string>& salvaged) {
  const File file(path);
  if (file.size() > kMostBytes) throw FormatError(path, "an image file of at most 2^31 bytes", std::to_string(file.size()));
  std::vector<std::uint8_t> bytes(file.size());
  file.read(bytes.data(), bytes.size(), 0);
  int orientation = exif_orientation(bytes);
  Image image;
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) {
    image = decode_png(path, bytes, options.deep, salvaged);
  } else if (starts_with(bytes, "\xff\xd8\xff")) {
    image = read_jpeg(path, bytes, options, salvaged);
  } else if (is_tiff(bytes)) {
    image = decode_tiff(path, bytes, options.deep, salvaged, orientation);
  } else if (starts_with(bytes, "BM")) {
    image = decode_bmp(path, bytes);
  } else {
    throw FormatError(path, "an image in PNG, JPEG, TIFF or BMP", other_kind(bytes));
  }
  return upright(std::move(image), orientation);
}

}  // namespace sslmed::io
