#include <catch2/catch.hpp>
#include <vector>

#include "core/error.h"
#include "transforms/bicubic.h"

using namespace sslmed::transforms;

TEST_CASE("a picture at its own size stays, and a flat one is flat at any") {
  std::vector<std::uint8_t> source(5 * 4 * 3), out(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::uint8_t>(i * 41);
  resize_bicubic(source.data(), 5, 4, 3, {0, 0, 5, 4}, 5, 4, out.data());
  CHECK(out == source);
  const std::vector<std::uint8_t> flat(7 * 9, 123);
  for (const std::int64_t side : {1, 3, 20}) {
    std::vector<std::uint8_t> result(static_cast<std::size_t>(side * side));
    resize_bicubic(flat.data(), 7, 9, 1, {0.3, 1.7, 6.1, 5.2}, side, side, result.data());
    CHECK(result == std::vector<std::uint8_t>(result.size(), 123));
  }
}

TEST_CASE("a box beyond the picture is refused") {
  const std::vector<std::uint8_t> source(12);
  std::vector<std::uint8_t> out(12);
  CHECK_THROWS_AS(resize_bicubic(source.data(), 4, 3, 1, {0, 0, 5, 3}, 2, 2, out.data()), sslmed::ValueError);
  CHECK_THROWS_AS(resize_bicubic(source.data(), 4, 3, 1, {0, 0, 4, 3}, 0, 2, out.data()), sslmed::ValueError);
}
