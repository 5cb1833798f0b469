#include "io/image.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "io/jpeg.h"

namespace sslmed::io {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 31;

bool starts_with(const std::vector<std::uint8_t>& bytes, std::string_view start) {
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

}  // namespace

Image read_image(const std::string& path, const ImageOptions& options, std::vector<std::string>& salvaged) {
  const File file(path);
  if (file.size() > kMostBytes) throw FormatError(path, "an image file of at most 2^31 bytes", std::to_string(file.size()));
  std::vector<std::uint8_t> bytes(file.size());
  file.read(bytes.data(), bytes.size(), 0);
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) return decode_png(path, bytes, options.deep, salvaged);
  if (!starts_with(bytes, "\xff\xd8\xff"))
    throw FormatError(path, "a PNG or JPEG image",
                      starts_with(bytes, "version https://git-lfs") ? "a pointer of Git LFS: the image was not downloaded (git lfs pull)"
                      : bytes.empty()                               ? "an empty file"
                                      : quote({reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 16)}));
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
  return image;
}

}  // namespace sslmed::io
