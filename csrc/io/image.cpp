#include "io/image.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "io/bmp.h"
#include "io/exif.h"
#include "io/jpeg.h"
#include "io/picture_store.h"
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

bool has_text(const std::vector<std::uint8_t>& bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() && std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

// DICOM, also without its preamble: a file then starts with an element of group 2 or 8.
bool is_dicom(const std::vector<std::uint8_t>& bytes) {
  if (has_text(bytes, 128, "DICM")) return true;
  return bytes.size() > 132 && (bytes[0] == 2 || bytes[0] == 8) && bytes[1] == 0 && bytes[2] <= 0x18 && bytes[3] == 0 && bytes[7] == 0;
}

// What a picture is that is read through a converted copy; nothing for other files. The same as in sslmed/io/picture_store.py.
std::string foreign_kind(const std::vector<std::uint8_t>& bytes) {
  if (is_dicom(bytes)) return "a DICOM image";
  if (has_text(bytes, 0, "RIFF") && has_text(bytes, 8, "WEBP")) return "a WebP image";
  if (has_text(bytes, 0, "GIF8")) return "a GIF image";
  if (has_text(bytes, 4, "ftyphei") || has_text(bytes, 4, "ftypavi") || has_text(bytes, 4, "ftypmif1")) return "a HEIF or AVIF image";
  if (has_text(bytes, 4, "jP  ") || has_text(bytes, 0, "\xff\x4f\xff\x51")) return "a JPEG 2000 image";
  return {};
}

// What a file is that is no image.
std::string other_kind(const std::vector<std::uint8_t>& bytes) {
  if (bytes.empty()) return "an empty file";
  if (has_text(bytes, 0, "version https://git-lfs")) return "a pointer of Git LFS: the image was not downloaded (git lfs pull)";
  if (has_text(bytes, 0, "SIMPLE  =")) return "a FITS image";
  return quote({reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 16)});
}

std::vector<std::uint8_t> all_bytes(const std::string& path) {
  const File file(path);
  if (file.size() > kMostBytes) throw FormatError(path, "an image file of at most 2^31 bytes", std::to_string(file.size()));
  std::vector<std::uint8_t> bytes(file.size());
  file.read(bytes.data(), bytes.size(), 0);
  return bytes;
}

// The copy of a picture of another format. Its 16-bit values use the whole range, so that nothing is to be guessed.
Image read_copy(const std::string& path, const std::string& kind, const ImageOptions& options, std::vector<std::string>& salvaged) {
  const std::string copy = stored_picture(path, options.voi);
  if (std::error_code ignored; !std::filesystem::exists(copy, ignored))
    throw FormatError(path, "an image in PNG, JPEG, TIFF or BMP, or a converted copy in " + picture_store(),
                      kind + " without a copy: convert it first (sslmed.io.convert_pictures)");
  int upright_already = 1;
  Image image = decode_tiff(copy, all_bytes(copy), true, salvaged, upright_already);
  if (!options.deep) to_bytes(image, salvaged, true);
  return image;
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
  const auto bytes = all_bytes(path);
  if (const auto kind = foreign_kind(bytes); !kind.empty()) return read_copy(path, kind, options, salvaged);
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
