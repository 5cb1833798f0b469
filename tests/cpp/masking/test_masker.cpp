#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "core/error.h"
#include "masking/masker.h"
#include "masking/multiblock_mask.h"

using namespace sslmed;
using namespace sslmed::masking;

namespace {

// Exactly the cells [0, n), each once, seen or hidden.
void check_whole(const Mask& mask, std::int32_t n) {
  std::vector<std::int32_t> all(mask.visible);
  all.insert(all.end(), mask.masked.begin(), mask.masked.end());
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == static_cast<std::size_t>(n));
  for (std::int32_t i = 0; i < n; ++i) REQUIRE(all[static_cast<std::size_t>(i)] == i);
}

}  // namespace

TEST_CASE("single cells of a grid of any rank are masked, as many as asked for") {
  for (const auto& extent : {std::vector<std::int32_t>{40}, {5, 8}, {2, 5, 4}}) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      const auto mask = grid_mask({Mode::kRandom, 0.75}, extent, {0, 0, i});
      check_whole(mask, 40);
      CHECK(mask.visible.size() == 10);
      CHECK(mask.visible == random_mask(40, 10, {0, 0, i}).visible);
      CHECK(grid_mask({Mode::kBernoulli, 0.3}, extent, {0, 0, i}).masked == bernoulli_mask(40, 0.3, {0, 0, i}).masked);
    }
  }
}

TEST_CASE("blocks lie along the last axis or the first one, over the whole of the others") {
  const std::vector<std::int32_t> extent{4, 3, 8};
  for (std::uint64_t i = 0; i < 40; ++i) {
    // Half of 8 steps in blocks of 2: whole steps, unless a block at the border is cut.
    std::set<std::int32_t> steps, rows;
    const auto time = grid_mask({Mode::kTime, 0.5, 2}, extent, {0, 0, i});
    check_whole(time, 96);
    REQUIRE(time.masked.size() == 48);
    for (const auto cell : time.masked) steps.insert(cell % 8);
    CHECK(steps.size() <= 5);  // of 4 whole ones, one is shared by two blocks at most
    const auto channel = grid_mask({Mode::kChannel, 0.5, 1}, extent, {0, 0, i});
    check_whole(channel, 96);
    REQUIRE(channel.masked.size() == 48);
    for (const auto cell : channel.masked) rows.insert(cell / 24);
    CHECK(rows.size() == 2);  // whole rows
  }
}

TEST_CASE("multi-block masks are those of the batch") {
  for (const auto mode : {Mode::kMultiblock, Mode::kMultiblockExact}) {
    const auto placement = mode == Mode::kMultiblock ? Placement::kUnbiased : Placement::kExact;
    const auto mask = grid_mask({mode}, {14, 14}, {1, 2, 3, 4});
    const MultiblockMask reference(14, 14, placement, {1, 2, 4});
    CHECK(mask.masked == reference.draw({1, 2, 3, 4}).masked);
    CHECK(mask.visible == reference.draw({1, 2, 3, 4}).visible);
    CHECK(mask.blocks == 4);
    CHECK_THROWS_WITH(grid_mask({mode}, {4, 5, 6}, {}), Catch::Contains("two axes, got 3"));
  }
}

TEST_CASE("what cannot be masked is refused, each with the name of its parameter") {
  using Catch::Contains;
  const auto refused = [](MaskOptions options, const std::string& name) {
    CHECK_THROWS_WITH(check(options, "Here"), Contains("Here: " + name));
    CHECK_THROWS_AS(check(options, "Here"), ValueError);
  };
  for (const double ratio : {0.0, 1.0, -0.1, std::numeric_limits<double>::quiet_NaN()})
    for (const auto mode : {Mode::kRandom, Mode::kBernoulli, Mode::kTime, Mode::kChannel, Mode::kSpace}) refused({mode, ratio}, "ratio=");
  refused({Mode::kTime, 0.5, 0}, "block=0");
  refused({Mode::kSpace, 0.5, 2, -1}, "radius=-1");
  refused({Mode::kSpace, 0.5, 2, std::numeric_limits<double>::infinity()}, "radius=inf");
  for (const auto mode : {Mode::kNone, Mode::kMultiblock, Mode::kMultiblockExact}) refused({mode, 0.5, 2, 30, true}, "complementary=True");
  check({Mode::kNone, 7}, "Here");  // a ratio is for masks that have one
  check({Mode::kMultiblock, 7}, "Here");
  check({Mode::kRandom, 0.5, 1, 0, true}, "Here");
  CHECK_THROWS_WITH(grid_mask({Mode::kSpace, 0.5}, {4, 4}, {}), Contains("places in space"));
  CHECK_THROWS_AS(grid_mask({Mode::kRandom, 0.5}, {1}, {}), ValueError);
}
