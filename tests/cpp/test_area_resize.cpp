#include <catch2/catch.hpp>

#include "core/error.h"
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

TEST_CASE("an area beyond the source is refused") {
  const std::vector<std::uint8_t> source(12);
  std::vector<std::uint8_t> out(12);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {0, 1.5, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {-1, 1, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
  CHECK_THROWS_AS(area_resize(source.data(), 4, 3, 1, {0, 0, 3}, {0, 1, 3}, out.data()), sslmed::ValueError);
}
