#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <thread>

#include "core/error.h"
#include "io/jpeg_tiles.h"
#include "temporary.h"
#include "tiff_bytes.h"

using namespace sslmed;
using testing::Bytes;

namespace {
std::string text(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }
}  // namespace

TEST_CASE("sixteen threads read the regions that one reads, with and without a cache") {
  constexpr int kWidth = 300, kHeight = 200, kSide = 70;
  const testing::TemporaryFolder temporary;
  const auto path = temporary.write("x.tiff", text(testing::tiff_of(testing::scene(kWidth, kHeight), kWidth, kHeight, 64)));
  const auto tiff = io::TiffFile::open(path);
  REQUIRE(tiff);
  REQUIRE(io::JpegTiles::readable(tiff->directories().front()));
  Bytes whole(3 * kWidth * kHeight);
  REQUIRE(io::JpegTiles(*tiff, 0, 1, nullptr).read(0, 0, kWidth, kHeight, whole.data()));
  // Regions that hang over every edge.
  const auto expected = [&](int x, int y) {
    Bytes region(3 * kSide * kSide, 255);
    for (int row = 0; row < kSide; ++row)
      for (int column = 0; column < kSide; ++column)
        if (x + column >= 0 && x + column < kWidth && y + row >= 0 && y + row < kHeight)
          std::memcpy(region.data() + 3 * (row * kSide + column), whole.data() + 3 * ((y + row) * kWidth + x + column), 3);
    return region;
  };
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{40000}, std::size_t{1} << 20}) {
    const auto cache = std::make_shared<io::TileCache>(capacity);
    const io::JpegTiles tiles(*tiff, 0, 2, cache);
    std::vector<std::size_t> wrong(16, 0);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 16; ++t)
      threads.emplace_back([&, t] {
        Bytes region(3 * kSide * kSide);
        for (int i = 0; i < 12; ++i) {
          const int x = static_cast<int>((t * 37U + static_cast<unsigned>(i) * 53U) % 330U) - 50,
                    y = static_cast<int>((t * 59U + static_cast<unsigned>(i) * 31U) % 250U) - 50;
          if (!tiles.read(x, y, kSide, kSide, region.data()) || region != expected(x, y)) ++wrong[t];
        }
      });
    for (auto& thread : threads) thread.join();
    CHECK(std::count(wrong.begin(), wrong.end(), 0U) == 16);
    CHECK(cache->bytes() <= capacity);
  }
}

TEST_CASE("a tile that is not stored is left to others") {
  const testing::TemporaryFolder temporary;
  auto bytes = testing::tiff_of(testing::scene(100, 60), 100, 60, 64);
  const auto read = [&](const Bytes& file) {
    const auto tiff = io::TiffFile::open(temporary.write("x.tiff", text(file)));
    Bytes region(3 * 100 * 60);
    return io::JpegTiles(*tiff, 0, 1, nullptr).read(0, 0, 100, 60, region.data());
  };
  CHECK(read(bytes));
  // The table of sizes stands before the directory.
  const auto directory = bytes[4] | bytes[5] << 8 | bytes[6] << 16;
  std::fill_n(bytes.begin() + directory - 4, 4, 0);
  CHECK_FALSE(read(bytes));
}

TEST_CASE("TIFF directories that cannot be are refused") {
  const testing::TemporaryFolder temporary;
  const auto sound = testing::tiff_of(testing::scene(100, 60), 100, 60, 64);
  const auto open = [&](const Bytes& file) { return io::TiffFile::open(temporary.write("x.tiff", text(file))); };
  CHECK(open(sound)->directories().size() == 1);
  CHECK_FALSE(open(Bytes(100, 7)));
  std::size_t refused = 0, opened = 0;
  for (std::size_t at = 0; at < sound.size(); at += 3) {
    for (const std::uint8_t value : {0x00, 0x7f, 0xff}) {
      auto changed = sound;
      changed[at] = value;
      try {
        if (open(changed)) ++opened;
      } catch (const FormatError&) {
        ++refused;
      }
    }
  }
  CHECK(refused > 50);
  CHECK(opened > 50);
  for (std::size_t size = 8; size < sound.size(); size += 13)
    CHECK_THROWS_AS(open({sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(size)}), FormatError);
}
