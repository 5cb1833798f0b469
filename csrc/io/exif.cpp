#include "io/exif.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sslmed::io {
namespace {

// A block of EXIF: a TIFF file in small.
int orientation_in(const std::uint8_t* block, std::size_t size) {
  if (size < 14) return 1;
  const bool big = block[0] == 'M';
  if (block[0] != block[1] || (block[0] != 'M' && block[0] != 'I')) return 1;
  const auto number = [&](std::size_t at, int bytes) {
    std::size_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<std::size_t>(block[at + static_cast<std::size_t>(i)]) << (8 * (big ? bytes - 1 - i : i));
    return value;
  };
  const auto directory = number(4, 4);
  if (number(2, 2) != 42 || directory > size - 2) return 1;
  const auto count = number(directory, 2);
  for (std::size_t entry = directory + 2, i = 0; i < count && entry + 12 <= size; ++i, entry += 12) {
    if (number(entry, 2) != 274) continue;
    const auto value = number(entry + 8, 2);
    return number(entry + 2, 2) == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

std::size_t big_endian(const std::uint8_t* at, int bytes) {
  std::size_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

int in_jpeg(const std::vector<std::uint8_t>& file) {
  for (std::size_t at = 2; at + 4 <= file.size();) {
    if (file[at] != 0xFF) return 1;
    const auto marker = file[at + 1];
    if (marker == 0xFF) {  // filling
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) return 1;  // the pixels
    const auto length = big_endian(&file[at + 2], 2);
    if (length < 2 || length > file.size() - at - 2) return 1;
    if (marker == 0xE1 && length >= 8 && std::memcmp(&file[at + 4], "Exif\0", 6) == 0) return orientation_in(&file[at + 10], length - 8);
    at += 2 + length;
  }
  return 1;
}

int in_png(const std::vector<std::uint8_t>& file) {
  for (std::size_t at = 8; at + 12 <= file.size();) {
    const auto length = big_endian(&file[at], 4);
    if (length > file.size() - at - 12) return 1;
    if (std::memcmp(&file[at + 4], "eXIf", 4) == 0) return orientation_in(&file[at + 8], length);
    at += 12 + length;
  }
  return 1;
}

}  // namespace

int exif_orientation(const std::vector<std::uint8_t>& file) {
  if (file.size() < 16) return 1;
  return file[0] == 0xFF ? in_jpeg(file) : file[0] == 0x89 ? in_png(file) : 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool across = orientation >= 5;  // rows become columns
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const auto pixel = static_cast<std::size_t>(image.channels * (image.depth / 8));
  Image out{across ? image.height : image.width, across ? image.width : image.height, image.channels, image.depth, {}};
  out.bytes.resize(image.bytes.size());
  auto* to = out.bytes.data();
  for (std::int64_t y = 0; y < out.height; ++y) {
    for (std::int64_t x = 0; x < out.width; ++x, to += pixel) {
      const auto column = across ? y : x, row = across ? x : y;
      const auto from_x = from_right ? image.width - 1 - column : column, from_y = from_bottom ? image.height - 1 - row : row;
      std::copy_n(image.bytes.data() + static_cast<std::size_t>(from_y * image.width + from_x) * pixel, pixel, to);
    }
  }
  return out;
}

}  // namespace sslmed::io
