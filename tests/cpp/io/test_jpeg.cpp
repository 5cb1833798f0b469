#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <utility>

#include "core/error.h"
#include "io/jpeg.h"
#include "tiff_bytes.h"

using namespace sslmed;
using testing::Bytes;

namespace {

Bytes decoded(const Bytes& jpeg, const io::Rectangle& part) {
  Bytes out(static_cast<std::size_t>(3 * part.width * part.height));
  io::jpeg_decode("x.jpg", {jpeg.data(), jpeg.size()}, part, out.data(), static_cast<std::size_t>(3 * part.width));
  return out;
}

}  // namespace

TEST_CASE("a part of a JPEG image is that of the whole, byte for byte") {
  constexpr int kWidth = 100, kHeight = 70;
  for (const auto& [sampling, progressive] : {std::pair(2, false), {1, false}, {2, true}}) {
    const auto jpeg = testing::jpeg_of(testing::scene(kWidth, kHeight), kWidth, kHeight, sampling, progressive);
    const auto whole = decoded(jpeg, {0, 0, kWidth, kHeight});
    std::size_t wrong = 0;
    for (int y = 0; y < kHeight; y += 3) {
      for (int x = 0; x < kWidth; x += 5) {
        for (const auto& [w, h] : {std::pair(1, 1), {7, 31}, {48, 9}, {kWidth - x, kHeight - y}}) {
          if (x + w > kWidth || y + h > kHeight) continue;
          const auto part = decoded(jpeg, {x, y, w, h});
          for (int row = 0; row < h; ++row)
            wrong += static_cast<std::size_t>(
                std::memcmp(part.data() + 3 * row * w, whole.data() + 3 * ((y + row) * kWidth + x), static_cast<std::size_t>(3 * w)) != 0);
        }
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("what is no sound JPEG image is refused, and the decoder goes on") {
  const auto jpeg = testing::jpeg_of(testing::scene(64, 48), 64, 48);
  Bytes out(3 * 64 * 48);
  const auto decode = [&](const Bytes& bytes, const std::optional<io::ImageSize>& expected = std::nullopt) {
    io::jpeg_decode("x.jpg", {bytes.data(), bytes.size()}, {0, 0, 64, 48}, out.data(), 3 * 64, expected);
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{100}, jpeg.size() / 2, jpeg.size() - 2}) {
    CHECK_THROWS_AS(decode({jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(size)}), FormatError);
    CHECK_NOTHROW(decode(jpeg));
  }
  CHECK_THROWS_AS(decode(Bytes(500, 0)), FormatError);
  CHECK_THROWS_AS(decode(jpeg, io::ImageSize{64, 64, 3}), FormatError);
  CHECK_THROWS_AS(io::jpeg_decode("x.jpg", {jpeg.data(), jpeg.size()}, {0, 0, 65, 48}, out.data(), 3 * 65), ValueError);
  CHECK_NOTHROW(decode(jpeg));
}
