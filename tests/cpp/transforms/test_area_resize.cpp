#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "core/error.h"
#include "core/random.h"
#include "transforms/area_resize.h"

using sslmed::transforms::area_resize;

TEST_CASE("whole factors are means, and one is a copy") {
  const std::vector<std::uint8_t> source{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110};  // [3, 4, 1]
  std::vector<std::uint8_t> out(12);
  area_resize(source.data(), 4, 3, 1, {0, 1, 4}, {0, 1, 3}, out.data());
  CHECK(out == source);
  out.resize(2);
  area_resize(source.data(), 4, 3, 1, {0, 2, 2}, {0, 2, 1}, out.data());
  CHECK(out == std::vector<std::uint8_t>{25, 45});
  area_resize(source.data(), 4, 3, 1, {0.5, 1.5, 2}, {1, 1, 1}, out.data());
  // (40/2 + 50) / 1.5 and (60 + 70/2) / 1.5
  CHECK(out == std::vector<std::uint8_t>{47, 63});
}

TEST_CASE("channels do not mix, and what grows keeps its mean") {
  const std::vector<std::uint8_t> source{0, 200, 100, 0};  // [1, 2, 2]
  std::vector<std::uint8_t> out(6);
  area_resize(source.data(), 2, 1, 2, {0, 2.0 / 3, 3}, {0, 1, 1}, out.data());
  CHECK(out == std::vector<std::uint8_t>{0, 200, 50, 100, 100, 0});
}

TEST_CASE("three channels, which go side by side, come out as each alone") {
  sslmed::Philox random({5, 0, 0}, sslmed::Stream::kPicture);
  const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(n))); };
  for (int attempt = 0; attempt < 200; ++attempt) {
    const std::int64_t width = 1 + below(20), height = 1 + below(9), columns = 1 + below(12), rows = 1 + below(6);
    std::vector<std::uint8_t> source(static_cast<std::size_t>(3 * width * height)), out(static_cast<std::size_t>(3 * columns * rows));
    for (auto& value : source) value = static_cast<std::uint8_t>(below(256));
    const auto start = random.uniform() * 0.5, end = start + 0.5;  // of the source
    const sslmed::transforms::Grid x{start * static_cast<double>(width), (end - start) * static_cast<double>(width) / static_cast<double>(columns), columns};
    const sslmed::transforms::Grid y{start * static_cast<double>(height), (end - start) * static_cast<double>(height) / static_cast<double>(rows), rows};
    area_resize(source.data(), width, height, 3, x, y, out.data());
    int most = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      std::vector<std::uint8_t> one(source.size() / 3), alone(out.size() / 3);
      for (std::size_t i = 0; i < one.size(); ++i) one[i] = source[3 * i + c];
      area_resize(one.data(), width, height, 1, x, y, alone.data());
      for (std::size_t i = 0; i < alone.size(); ++i) most = std::max(most, std::abs(alone[i] - out[3 * i + c]));
    }
    CHECK(most <= 1);  // sums with and without fused steps may round apart
  }
}

TEST_CASE("an area beyond the source is refused") {
  const std::vector<std::uint8_t> source(12);
  std::vector<std::uint8_t> out(12);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {0, 1.5, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {-1, 1, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {0, 0, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
}
