#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "core/error.h"
#include "masking/permutations.h"

using namespace sslmed;
using namespace sslmed::masking;

namespace {

using Order = std::vector<std::int32_t>;

double mean_distance(const Order& order, const std::vector<Order>& others) {
  double sum = 0;
  for (const auto& other : others)
    for (std::size_t i = 0; i < order.size(); ++i) sum += order[i] != other[i];
  return sum / static_cast<double>(others.size());
}

}  // namespace

TEST_CASE("each order is the one that differs most from those before it") {
  for (const std::int32_t tiles : {2, 3, 4, 5}) {
    std::vector<Order> all;
    Order order(static_cast<std::size_t>(tiles));
    std::iota(order.begin(), order.end(), 0);
    do all.push_back(order);
    while (std::next_permutation(order.begin(), order.end()));
    const auto count = std::min<std::size_t>(all.size(), 30);
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      auto chosen = distant_permutations(tiles, static_cast<std::int64_t>(count), seed);
      REQUIRE(chosen.size() == count);
      std::vector<Order> before{chosen.front()};
      for (std::size_t i = 1; i < count; ++i) {
        const Order* best = nullptr;
        for (const auto& candidate : all) {
          if (std::find(before.begin(), before.end(), candidate) != before.end()) continue;
          if (best == nullptr || mean_distance(candidate, before) > mean_distance(*best, before)) best = &candidate;
        }
        REQUIRE(chosen[i] == *best);
        before.push_back(chosen[i]);
      }
    }
  }
}

TEST_CASE("orders of many tiles are drawn by seed, all different and far apart") {
  for (const std::int32_t tiles : {9, 27}) {
    const auto chosen = distant_permutations(tiles, 60, 7);
    CHECK(chosen == distant_permutations(tiles, 60, 7));
    CHECK(chosen != distant_permutations(tiles, 60, 8));
    CHECK(std::set<Order>(chosen.begin(), chosen.end()).size() == 60);
    double distance = 0;
    for (const auto& order : chosen) {
      auto sorted = order;
      std::sort(sorted.begin(), sorted.end());
      for (std::int32_t i = 0; i < tiles; ++i) REQUIRE(sorted[static_cast<std::size_t>(i)] == i);
      distance += mean_distance(order, chosen) / 59;  // to itself it is 0
    }
    // Two orders by chance differ in all but one of their places.
    CHECK(distance > tiles - 1);
  }
}

TEST_CASE("orders that are not there are refused") {
  CHECK_THROWS_AS(distant_permutations(1, 2, 0), ValueError);
  CHECK_THROWS_AS(distant_permutations(256, 2, 0), ValueError);
  CHECK_THROWS_AS(distant_permutations(3, 7, 0), ValueError);
  CHECK_THROWS_AS(distant_permutations(9, 50'001, 0), ValueError);
  CHECK_THROWS_AS(distant_permutations(3, 1, 0), ValueError);
}
