#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "transforms/resample.h"

using namespace sslmed::transforms;

TEST_CASE("a slow sine keeps its shape") {
  const auto resampler = Resampler::between(500, 200);
  CHECK(resampler.up() == 2);
  CHECK(resampler.down() == 5);
  std::vector<double> x(2000), y(static_cast<std::size_t>(resampler.output_length(2000)));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(2 * std::numbers::pi * 10 * static_cast<double>(i) / 500);
  resampler.apply(x.data(), 1, 2000, y.data());
  REQUIRE(y.size() == 800);
  for (std::size_t k = 100; k < 700; ++k) REQUIRE(y[k] == Approx(std::sin(2 * std::numbers::pi * 10 * static_cast<double>(k) / 200)).margin(2e-3));
}

TEST_CASE("factors are reduced, and impossible ones refused") {
  CHECK(Resampler(4, 8).up() == 1);
  CHECK(Resampler::between(250, 250).is_identity());
  CHECK(Resampler::between(487.5, 200).down() == 39);
  CHECK_THROWS_AS(Resampler(0, 1), sslmed::ValueError);
  CHECK_THROWS_AS(Resampler::between(0, 1), sslmed::ValueError);
  CHECK_THROWS_AS(Resampler::between(1, 1e7), sslmed::ValueError);
}
