#pragma once
// JPEG through libjpeg-turbo: whole images, and rectangles of them for which only the blocks that they touch are transformed.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sslmed::io {

struct ImageSize {
  std::int64_t width = 0, height = 0, channels = 0;
};

enum class JpegColour { kStored, kRgb, kYcc };  // what three components are; kStored: as the file's markers say

struct JpegBytes {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  const std::vector<std::uint8_t>* tables = nullptr;  // a stream of tables alone that comes before, or none
  JpegColour colour = JpegColour::kStored;
};

struct Rectangle {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
};

// What images of JPEG's and PNG's kind may have at most: a few bytes can claim more memory than any machine has.
inline constexpr std::int64_t kMostPixels = std::int64_t{1} << 28;

// Width, height and channels (1: grey, 3: RGB, 4: CMYK, as stored). `name` is the file's in errors. FormatError where the bytes are no JPEG of grey or colour.
ImageSize jpeg_size(const std::string& name, const JpegBytes& jpeg);

// RGB, grey or CMYK rows of `part`, `stride` bytes apart. The bytes are those that a whole decode gives. Where `expected` is given, an image
// of another size is refused. FormatError where the stream is damaged or ends early in what was decoded; `salvaged` takes what does
// not touch the pixels, and without it that is an error too. `shrink` (1, 2, 4 or 8): all of it, at so many times fewer pixels each way, rounded up.
void jpeg_decode(const std::string& name, const JpegBytes& jpeg, const Rectangle& part, std::uint8_t* into, std::size_t stride,
                 const std::optional<ImageSize>& expected = std::nullopt, std::vector<std::string>* salvaged = nullptr, unsigned shrink = 1);

// Whether this build has libjpeg-turbo; without it the functions above throw std::runtime_error.
bool have_jpeg();

}  // namespace sslmed::io
