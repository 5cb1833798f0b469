#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "core/error.h"
#include "masking/neighborhood_mask.h"

using namespace sslmed;
using namespace sslmed::masking;

namespace {

// Cells of a ball, 8 mm apart: tokens that fill no rectangle.
std::vector<float> ball() {
  std::vector<float> coords;
  for (int x = -5; x <= 5; ++x)
    for (int y = -5; y <= 5; ++y)
      for (int z = -5; z <= 5; ++z)
        if (x * x + y * y + z * z <= 25) coords.insert(coords.end(), {8.0f * x, 8.0f * y, 8.0f * z, 0});
  return coords;
}

}  // namespace

TEST_CASE("blocks of neighbors have one size, and the context has none of their tokens") {
  const auto coords = ball();
  const auto n = static_cast<std::int64_t>(coords.size() / 4);
  for (std::uint64_t index = 0; index < 50; ++index) {
    const auto mask = neighborhood_mask(coords.data(), n, {1, 0, index}, {1, 0, 3});
    REQUIRE(mask.blocks == 4);
    REQUIRE(mask.masked.size() % 4 == 0);
    const auto size = mask.masked.size() / 4;
    CHECK(static_cast<double>(size) >= 0.15 * static_cast<double>(n) - 1);
    CHECK(static_cast<double>(size) <= 0.2 * static_cast<double>(n) + 1);
    const std::set<std::int32_t> hidden(mask.masked.begin(), mask.masked.end());
    for (const auto token : mask.visible) CHECK(hidden.count(token) == 0);
    CHECK(mask.visible.size() > 10);
    CHECK(std::is_sorted(mask.visible.begin(), mask.visible.end()));
    for (std::size_t block = 0; block < 4; ++block) {
      const auto first = mask.masked.begin() + static_cast<std::ptrdiff_t>(block * size), last = first + static_cast<std::ptrdiff_t>(size);
      CHECK(std::is_sorted(first, last));
      // Neighbors: a block's tokens lie closer together than the ball is wide.
      double most = 0;
      for (auto a = first; a != last; ++a)
        most = std::max(most, static_cast<double>(std::abs(coords[4 * static_cast<std::size_t>(*a)] - coords[4 * static_cast<std::size_t>(*first)])));
      CHECK(most < 80);
    }
  }
}

TEST_CASE("sizes of blocks belong to the batch, places to the sample") {
  const auto coords = ball();
  const auto n = static_cast<std::int64_t>(coords.size() / 4);
  const auto one = neighborhood_mask(coords.data(), n, {1, 0, 0}, {1, 0, 5}), two = neighborhood_mask(coords.data(), n, {1, 0, 1}, {1, 0, 5});
  CHECK(one.masked.size() == two.masked.size());
  CHECK(one.masked != two.masked);
  CHECK(one.masked == neighborhood_mask(coords.data(), n, {1, 0, 0}, {1, 0, 5}).masked);
  std::set<std::size_t> sizes;
  for (std::uint64_t batch = 0; batch < 20; ++batch) sizes.insert(neighborhood_mask(coords.data(), n, {1, 0, 0}, {1, 0, batch}).masked.size());
  CHECK(sizes.size() > 3);
}

TEST_CASE("too few tokens hold no blocks") {
  const std::vector<float> few(4 * 7, 0);
  CHECK_THROWS_AS(neighborhood_mask(few.data(), 7, {}, {}), ValueError);
}
