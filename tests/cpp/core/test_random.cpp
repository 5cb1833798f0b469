#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "core/random.h"

using namespace sslmed;

TEST_CASE("Philox gives Random123's known answers") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("draws have the moments that they should") {
  Philox random({1, 2, 3}, Stream::kMask);
  double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0;
  const int n = 200000;
  std::array<int, 7> counts{};
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform(), z = random.normal();
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
    normal_sum += z;
    normal_squares += z * z;
    ++counts[random.below(7)];
  }
  CHECK(sum / n == Approx(0.5).margin(0.005));
  CHECK(squares / n == Approx(1.0 / 3).margin(0.005));
  CHECK(normal_sum / n == Approx(0).margin(0.01));
  CHECK(normal_squares / n == Approx(1).margin(0.02));
  for (const int count : counts) CHECK(count == Approx(n / 7.0).margin(5 * std::sqrt(n / 7.0)));
}

TEST_CASE("a shuffle is a permutation, depends on its name, and prefers none") {
  for (const std::uint64_t n : {1u, 2u, 5u, 16u, 17u, 1000u}) {
    const Shuffle shuffle(n, {1, 0, 0}, Stream::kOrder);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < n; ++i) seen.insert(shuffle(i));
    CHECK(seen.size() == n);
    CHECK(*seen.rbegin() == n - 1);
  }
  const auto differs = [](const Draw& draw, Stream stream) {
    const Shuffle a(1000, {1, 0, 0}, Stream::kOrder), b(1000, draw, stream);
    int n = 0;
    for (std::uint64_t i = 0; i < 1000; ++i) n += a(i) != b(i);
    return n;
  };
  CHECK(differs({1, 0, 0}, Stream::kOrder) == 0);
  CHECK(differs({1, 1, 0}, Stream::kOrder) > 990);
  CHECK(differs({1, 0, 0}, Stream::kMask) > 990);
  // All 120 orders of five, equally often: chi-squared with 119 degrees of freedom, mean 119, deviation 15.4.
  std::map<std::array<std::uint64_t, 5>, int> orders;
  constexpr int kDraws = 60'000;
  for (std::uint64_t d = 0; d < kDraws; ++d) {
    const Shuffle shuffle(5, {2, d, 0}, Stream::kOrder);
    ++orders[{shuffle(0), shuffle(1), shuffle(2), shuffle(3), shuffle(4)}];
  }
  CHECK(orders.size() == 120);
  double chi = 0;
  for (const auto& [order, n] : orders) chi += (n - 500.0) * (n - 500.0) / 500.0;
  CHECK(chi < 119 + 5 * 15.4);
  CHECK(chi > 119 - 5 * 15.4);
  // Far beyond what a table could hold, neighbours still part.
  const Shuffle large(std::uint64_t{1} << 40, {3, 0, 0}, Stream::kOrder);
  CHECK(large(0) < std::uint64_t{1} << 40);
  CHECK(large(0) + 1 != large(1));
}
