#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "data/sampler.h"

using namespace sslmed;
using namespace sslmed::data;

TEST_CASE("an epoch has every sample once, from any batch on") {
  const Sampler sampler(23, Order::kShuffle, 5, false, 7);
  CHECK(sampler.batches_per_epoch() == 5);
  for (std::uint64_t epoch : {3u, 0u, 9u, 1u}) {
    std::set<std::int64_t> seen;
    for (std::uint64_t b = 0; b < 5; ++b)
      for (const auto& pick : sampler.batch(epoch * 5 + b)) seen.insert(pick.sample);
    CHECK(seen.size() == 23);
  }
  CHECK(Sampler(23, Order::kShuffle, 5, true, 7).batches_per_epoch() == 4);
  CHECK_THROWS_AS(Sampler(3, Order::kShuffle, 5, true, 7), ValueError);
  CHECK_THROWS_AS(Sampler(0, Order::kShuffle, 5, false, 7), ValueError);
  CHECK_THROWS_AS(Sampler(4, Order::kGroup, 2, false, 7, {{0, 3}, {0}, 1}), ValueError);
}

TEST_CASE("subject order gives every subject the same share") {
  const Sampler sampler(30, Order::kGroup, 10, false, 1, {{0, 3, 4, 30}, {0, 1, 0}, 2});  // sample 3 is all that the second one has
  int small = 0;
  for (std::uint64_t b = 0; b < 3; ++b)
    for (const auto& pick : sampler.batch(b)) small += pick.sample == 3;
  CHECK(small == 15);
  // The other one's samples come equally often, from both of its runs.
  std::map<std::int64_t, int> seen;
  for (std::uint64_t b = 0; b < 3000; ++b)
    for (const auto& pick : sampler.batch(b))
      if (pick.sample != 3) ++seen[pick.sample];
  CHECK(seen.size() == 29);
  const double expected = 15'000 / 29.0;
  for (const auto& [sample, n] : seen) CHECK(std::abs(n - expected) < 5 * std::sqrt(expected));
}

TEST_CASE("runs of groups leave out what has no samples") {
  const auto runs = group_runs({0, 3, 3, 5, 9, 9}, {7, 2, 7, 0, 4});
  CHECK(runs.first == std::vector<std::int64_t>{0, 5, 9});  // recordings 0 and 2 are of one group, side by side
  CHECK(runs.group == std::vector<std::int32_t>{0, 1});
  CHECK(runs.n_groups == 2);
  CHECK_THROWS_AS(group_runs({0, 3, 4}, {0}), ValueError);
  CHECK_THROWS_AS(group_runs({0, 3, 4}, {0, -1}), ValueError);
}
