#include <catch2/catch.hpp>
#include <cmath>
#include <complex>
#include <numbers>

#include "core/error.h"
#include "transforms/filter.h"

using namespace sslmed::transforms;

namespace {
double response(const Sections& sections, double f, double fs) {
  const std::complex<double> z = std::polar(1.0, -2 * std::numbers::pi * f / fs);
  std::complex<double> h = 1;
  for (const auto& s : sections) h *= (s.b0 + s.b1 * z + s.b2 * z * z) / (1.0 + s.a1 * z + s.a2 * z * z);
  return std::abs(h);
}
}  // namespace

TEST_CASE("Butterworth edges are at half power, and the pass band is flat") {
  for (const int order : {1, 2, 3, 4, 7}) {
    const auto band = butterworth(order, 5, 20, 200);
    CHECK(response(band, 5, 200) == Approx(std::sqrt(0.5)));
    CHECK(response(band, 20, 200) == Approx(std::sqrt(0.5)));
    CHECK(response(butterworth(order, 0, 20, 200), 0, 200) == Approx(1));
    CHECK(response(butterworth(order, 5, 0, 200), 100, 200) == Approx(1));
  }
  CHECK(response(notch(50, 30, 250), 50, 250) == Approx(0).margin(1e-12));
  CHECK(response(notch(50, 30, 250), 40, 250) == Approx(1).margin(0.02));
}

TEST_CASE("a constant passes a low-pass unchanged and a high-pass as zero, edges included") {
  std::vector<double> x(9 * 100, 3.0), y = x;
  filter_zero_phase(butterworth(4, 0, 20, 200), x.data(), 9, 100);
  filter_zero_phase(butterworth(4, 1, 0, 200), y.data(), 9, 100);
  for (const double v : x) REQUIRE(v == Approx(3.0));
  for (const double v : y) REQUIRE(v == Approx(0).margin(1e-9));
}

TEST_CASE("what cannot be designed is refused") {
  CHECK_THROWS_AS(butterworth(0, 1, 2, 100), sslmed::ValueError);
  CHECK_THROWS_AS(butterworth(4, 0, 0, 100), sslmed::ValueError);
  CHECK_THROWS_AS(butterworth(4, 20, 10, 100), sslmed::ValueError);
  CHECK_THROWS_AS(butterworth(4, 1, 50, 100), sslmed::ValueError);
  CHECK_THROWS_AS(butterworth(4, std::nan(""), 40, 100), sslmed::ValueError);
  std::vector<double> x(10);
  CHECK_THROWS_AS(filter_zero_phase(butterworth(4, 1, 40, 100), x.data(), 1, 10), sslmed::ValueError);
}
