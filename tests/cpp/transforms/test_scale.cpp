#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "transforms/scale.h"

using namespace sslmed::transforms;

TEST_CASE("flat and non-finite channels are marked and kept out") {
  std::vector<double> x{1, 2, 3, 4, 5, 5, 5, 5, 1, NAN, 2, 3, -1, -2, -3, -4};
  const auto good = good_channels(x.data(), 4, 4);
  CHECK(good == std::vector<char>{1, 0, 0, 1});
  average_reference(x.data(), 4, 4, good);
  for (std::size_t t = 0; t < 4; ++t) CHECK(x[t] + x[12 + t] == Approx(0).margin(1e-12));
  CHECK(x[4] == 5);
  scale_channels(x.data(), 4, 4, good, Scaling::kZScore, 1.0);
  CHECK(x[4] == 0);
  CHECK(x[9] == 0);
  for (const double v : x) CHECK(std::abs(v) <= 1.0);
}

TEST_CASE("all channels bad is no crash") {
  std::vector<double> x(8, 1.0);
  const auto good = good_channels(x.data(), 2, 4);
  average_reference(x.data(), 2, 4, good);
  scale_channels(x.data(), 2, 4, good, Scaling::kRobust, 0);
  for (const double v : x) CHECK(v == 0);
}
