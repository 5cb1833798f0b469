#include "io/bmp.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "io/jpeg.h"

namespace sslmed::io {
namespace {

std::uint32_t little_of(const std::vector<std::uint8_t>& bytes, std::size_t at, int size) {
  std::uint32_t value = 0;
  for (int i = 0; i < size; ++i) value |= static_cast<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]) << (8 * i);
  return value;
}

bool grey_palette(const std::vector<std::uint8_t>& bytes, std::size_t at, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (bytes[at + 4 * i] != bytes[at + 4 * i + 1] || bytes[at + 4 * i] != bytes[at + 4 * i + 2]) return false;
  return true;
}

}  // namespace

Image decode_bmp(const std::string& name, const std::vector<std::uint8_t>& bmp) {
  const auto fail = [&](const std::string& expected, const std::string& found) { throw FormatError(name, expected, found); };
  if (bmp.size() < 54) fail("a whole BMP image", std::to_string(bmp.size()) + " bytes");
  const std::size_t pixels = little_of(bmp, 10, 4), header = little_of(bmp, 14, 4);
  const auto width = static_cast<std::int32_t>(little_of(bmp, 18, 4)), signed_height = static_cast<std::int32_t>(little_of(bmp, 22, 4));
  const auto bits = little_of(bmp, 28, 2), compression = little_of(bmp, 30, 4);
  const auto height = std::abs(static_cast<std::int64_t>(signed_height));
  if (header < 40 || header > bmp.size() - 14) fail("a BMP header of at least 40 bytes", std::to_string(header));
  // 3: masks of 32 bits, of which B, G, R, A is the only order in use.
  if ((bits != 8 && bits != 24 && bits != 32) || !(compression == 0 || (compression == 3 && bits == 32)))
    fail("a BMP image of 8, 24 or 32 bits without compression (convert it to PNG)",
         std::to_string(bits) + " bits with compression " + std::to_string(compression));
  if (width < 1 || height < 1 || width * height > kMostPixels)
    fail("a BMP image of at most 2^28 pixels", std::to_string(width) + " x " + std::to_string(height));
  const std::size_t stored = bits / 8, stride = (static_cast<std::size_t>(width) * stored + 3) / 4 * 4;
  if (pixels > bmp.size() || bmp.size() - pixels < stride * static_cast<std::size_t>(height))
    fail("a whole BMP image of " + std::to_string(width) + " x " + std::to_string(height) + " pixels", std::to_string(bmp.size()) + " bytes");
  const std::size_t palette = 14 + header, noted = little_of(bmp, 46, 4), count = bits == 8 ? (noted == 0 ? 256 : noted) : 0;
  if (count > 256 || palette + 4 * count > bmp.size()) fail("a BMP palette of at most 256 colors", std::to_string(count));
  const bool grey = bits == 8 && grey_palette(bmp, palette, count);
  Image image{width, height, grey ? 1 : 3, 8, {}};
  image.bytes.resize(static_cast<std::size_t>(image.channels * width * height));
  auto* to = image.bytes.data();
  for (std::int64_t y = 0; y < height; ++y) {
    const auto row = static_cast<std::size_t>(signed_height < 0 ? y : height - 1 - y);
    for (std::int64_t x = 0; x < width; ++x) {
      std::size_t at = pixels + row * stride + static_cast<std::size_t>(x) * stored;
      if (bits == 8) {
        if (bmp[at] >= count) fail("values within a BMP palette of " + std::to_string(count) + " colors", std::to_string(bmp[at]));
        at = palette + 4 * static_cast<std::size_t>(bmp[at]);
      }
      for (std::size_t c = 0; c < static_cast<std::size_t>(image.channels); ++c) *to++ = bmp[at + (grey ? 0 : 2 - c)];
    }
  }
  return image;
}

}  // namespace sslmed::io
