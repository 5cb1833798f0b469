#include <catch2/catch.hpp>

#include "core/error.h"
#include "transforms/outlines.h"

using sslmed::ValueError;
using sslmed::transforms::Outliner;

TEST_CASE("outlines follow the edges of connected cells, with their holes") {
  const std::int32_t rows[] = {1, 1, 1, 0, 2,  //
                               1, 0, 1, 0, 2,  //
                               1, 1, 1, 0, 0};
  Outliner outliner(5, 0);
  outliner.add(rows, 2);
  CHECK(outliner.take().empty());  // both may still grow
  outliner.add(rows + 10, 1);
  const auto first = outliner.take();
  REQUIRE(first.size() == 1);
  CHECK(first[0].value == 2);
  CHECK(first[0].area == 2);
  CHECK(first[0].rings == std::vector<std::vector<std::array<std::int64_t, 2>>>{{{4, 0}, {5, 0}, {5, 2}, {4, 2}, {4, 0}}});
  outliner.finish();
  const auto second = outliner.take();
  REQUIRE(second.size() == 1);
  CHECK(second[0].area == 8);
  CHECK(second[0].x == Approx(1.5));
  CHECK(second[0].y == Approx(1.5));
  REQUIRE(second[0].rings.size() == 2);
  CHECK(second[0].rings[0] == std::vector<std::array<std::int64_t, 2>>{{0, 0}, {3, 0}, {3, 3}, {0, 3}, {0, 0}});
  CHECK(second[0].rings[1].size() == 5);
}

TEST_CASE("cells that touch by a corner alone are two objects, and pieces that join later are one") {
  const std::int32_t corner[] = {1, 0, 0, 1};
  Outliner apart(2, 0);
  apart.add(corner, 2);
  apart.finish();
  CHECK(apart.take().size() == 2);
  const std::int32_t joined[] = {1, 0, 1, 0, 1,  //
                                 1, 1, 1, 0, 1,  //
                                 0, 0, 1, 1, 1};
  Outliner together(5, 0);
  together.add(joined, 3);
  together.finish();
  const auto found = together.take();
  REQUIRE(found.size() == 1);
  CHECK(found[0].area == 10);
  CHECK(found[0].rings.size() == 1);
  CHECK_THROWS_AS(Outliner(0, 0), ValueError);
}
