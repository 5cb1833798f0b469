#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "core/error.h"
#include "masking/mask.h"

using namespace sslmed;
using namespace sslmed::masking;

TEST_CASE("masks are exact, ascending and whole") {
  for (std::int64_t n : {2, 63, 64, 65, 200}) {
    for (std::int64_t keep : {std::int64_t{1}, n / 2, n - 1}) {
      const auto mask = random_mask(n, keep, {1, 2, static_cast<std::uint64_t>(n)});
      REQUIRE(static_cast<std::int64_t>(mask.visible.size()) == keep);
      REQUIRE(std::is_sorted(mask.visible.begin(), mask.visible.end()));
      REQUIRE(std::is_sorted(mask.masked.begin(), mask.masked.end()));
      std::set<std::int32_t> all(mask.visible.begin(), mask.visible.end());
      all.insert(mask.masked.begin(), mask.masked.end());
      REQUIRE(static_cast<std::int64_t>(all.size()) == n);
    }
  }
  CHECK(keep_count(196, 0.75) == 49);
  CHECK_THROWS_AS(keep_count(3, 0.9), ValueError);
  CHECK_THROWS_AS(block_mask({0, 1}, 2, 1, {}), ValueError);
  CHECK_THROWS_AS(block_mask({0, 1}, 1, 0, {}), ValueError);
  CHECK_THROWS_AS(block_mask({0, -1}, 1, 1, {}), ValueError);
}

TEST_CASE("single tokens are masked by chance, and never all or none of them") {
  std::int64_t masked = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const auto mask = bernoulli_mask(50, 0.3, {seed, 0, 0});
    masked += static_cast<std::int64_t>(mask.masked.size());
    REQUIRE(std::is_sorted(mask.visible.begin(), mask.visible.end()));
    REQUIRE(mask.visible.size() + mask.masked.size() == 50);
    CHECK(bernoulli_mask(50, 0.3, {seed, 0, 0}).masked == mask.masked);
    for (const double ratio : {1e-12, 1 - 1e-12}) {
      const auto few = bernoulli_mask(3, ratio, {seed, 0, 0});
      REQUIRE((!few.visible.empty() && !few.masked.empty() && few.visible.size() + few.masked.size() == 3));
    }
  }
  CHECK(std::abs(static_cast<double>(masked) / (400 * 50) - 0.3) < 0.01);  // three standard errors
  CHECK_THROWS_AS(bernoulli_mask(1, 0.5, {}), ValueError);
  CHECK_THROWS_AS(bernoulli_mask(9, 1, {}), ValueError);
}

TEST_CASE("a block mask hides an exact number of tokens") {
  std::vector<std::int32_t> axis;
  for (int c = 0; c < 5; ++c)
    for (int t = 0; t < 8; ++t) axis.push_back(t);
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto mask = block_mask(axis, 17, 3, {0, 0, i});
    REQUIRE(mask.visible.size() == 17);
    REQUIRE(mask.masked.size() == 23);
  }
}
