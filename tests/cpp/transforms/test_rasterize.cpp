#include <catch2/catch.hpp>
#include <limits>

#include "core/error.h"
#include "transforms/rasterize.h"

using namespace sslmed::transforms;
using sslmed::ValueError;

namespace {

// Squares (x, y, side), one polygon each.
Polygons squares(const std::vector<std::array<float, 3>>& given, std::vector<std::int32_t> values, std::vector<std::uint8_t> negative) {
  Polygons out;
  out.values = std::move(values);
  out.negative = std::move(negative);
  for (const auto& [x, y, side] : given) {
    for (const auto& [dx, dy] : {std::pair{0.F, 0.F}, {side, 0.F}, {side, side}, {0.F, side}, {0.F, 0.F}}) {
      out.points.push_back(x + dx);
      out.points.push_back(y + dy);
    }
    out.first_point.push_back(static_cast<std::int64_t>(out.points.size() / 2));
    out.first_ring.push_back(static_cast<std::int64_t>(out.first_point.size()) - 1);
  }
  out.check();
  return out;
}

std::vector<std::int32_t> drawn(const Polygons& polygons, const RasterGrid& grid) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(grid.width * grid.height), 0);
  rasterize(polygons, grid, out.data());
  return out;
}

}  // namespace

TEST_CASE("cells are labeled where their middles are inside") {
  const auto one = squares({{1, 1, 2}}, {7}, {0});
  CHECK(drawn(one, {0, 0, {1, 1}, 4, 4}) == std::vector<std::int32_t>{0, 0, 0, 0, 0, 7, 7, 0, 0, 7, 7, 0, 0, 0, 0, 0});
  // Of cells twice as large one has its middle at (1, 1), which is in, and one at (3, 3), which is not.
  CHECK(drawn(one, {0, 0, {2, 2}, 2, 2}) == std::vector<std::int32_t>{7, 0, 0, 0});
  CHECK(drawn(one, {2, 2, {1, 1}, 2, 1}) == std::vector<std::int32_t>{7, 0});
  CHECK(drawn(one, {100, 100, {1, 1}, 2, 1}) == std::vector<std::int32_t>{0, 0});
}

TEST_CASE("later values cover earlier ones, and negative polygons are taken out of their own value") {
  const auto over = squares({{0, 0, 3}, {1, 0, 1}}, {1, 2}, {0, 0});
  CHECK(drawn(over, {0, 0, {1, 1}, 3, 1}) == std::vector<std::int32_t>{1, 2, 1});
  const auto cut = squares({{1, 0, 1}, {0, 0, 3}, {0, 0, 1}}, {1, 1, 2}, {1, 0, 0});
  CHECK(drawn(cut, {0, 0, {1, 1}, 3, 1}) == std::vector<std::int32_t>{2, 0, 1});
}

TEST_CASE("polygons that do not fit are refused") {
  CHECK_THROWS_AS(squares({{0, 0, 1}, {0, 0, 1}}, {2, 1}, {0, 0}), ValueError);
  CHECK_THROWS_AS(squares({{0, 0, 1}}, {1}, {}), ValueError);
  CHECK_THROWS_AS(squares({{0, 0, std::numeric_limits<float>::infinity()}}, {1}, {0}), ValueError);
  Polygons open;
  open.values = {1};
  open.negative = {0};
  open.points = {0, 0, 1, 0, 1, 1, 0, 1};
  open.first_point = {0, 4};
  open.first_ring = {0, 1};
  CHECK_THROWS_AS(open.check(), ValueError);
  CHECK_THROWS_AS(drawn(squares({{0, 0, 1}}, {1}, {0}), {0, 0, {0, 1}, 2, 2}), ValueError);
}
