#include <catch2/catch.hpp>
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

TEST_CASE("a permutation is one, and depends on its name") {
  const auto a = permutation(1000, {1, 0, 0}, Stream::kOrder);
  CHECK(std::set<std::uint32_t>(a.begin(), a.end()).size() == 1000);
  CHECK(a == permutation(1000, {1, 0, 0}, Stream::kOrder));
  CHECK(a != permutation(1000, {1, 1, 0}, Stream::kOrder));
  CHECK(a != permutation(1000, {1, 0, 0}, Stream::kMask));
}
