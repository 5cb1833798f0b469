#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "transforms/lab.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

// The definitions (IEC 61966-2-1, CIE 15), one pixel at a time.
double light_of(double v) { return v / 255 <= 0.04045 ? v / 255 / 12.92 : std::pow((v / 255 + 0.055) / 1.055, 2.4); }
double byte_of(double light) { return 255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055); }

std::array<double, 3> lab_of(const std::uint8_t* p) {
  const double r = light_of(p[0]), g = light_of(p[1]), b = light_of(p[2]);
  const auto curve = [](double t) { return t > 216.0 / 24389 ? std::cbrt(t) : (24389.0 / 27 * t + 16) / 116; };
  const double x = curve((0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.950456), y = curve(0.212671 * r + 0.715160 * g + 0.072169 * b),
               z = curve((0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.088754);
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

std::vector<std::uint8_t> noise(std::size_t n) {
  Philox random({1, 2, 3}, Stream::kPicture, /*many=*/true);
  std::vector<std::uint8_t> out(3 * n);
  for (auto& value : out) value = static_cast<std::uint8_t>(random.below(256) >> random.below(6));  // many dark ones
  return out;
}

}  // namespace

TEST_CASE("colours are those of the definition, and come back") {
  for (const std::int64_t n : {kBlock, std::int64_t{13}, std::int64_t{1}}) {
    for (int round = 0; round < 40; ++round) {
      auto rgb = noise(static_cast<std::size_t>(n * (round + 1)));
      rgb.erase(rgb.begin(), rgb.end() - 3 * n);
      if (round == 0) std::fill_n(rgb.begin(), 3, std::uint8_t{0});
      if (round == 1) std::fill_n(rgb.begin(), 3, std::uint8_t{255});
      PlanesOf<double> lab;
      to_lab(rgb.data(), n, lab);
      double worst = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto want = lab_of(rgb.data() + 3 * i);
        worst = std::max({worst, std::abs(lab.r[i] - want[0]), std::abs(lab.g[i] - want[1]), std::abs(lab.b[i] - want[2])});
      }
      REQUIRE(worst < 1e-11);
      std::vector<std::uint8_t> back(rgb.size());
      from_lab(lab, n, back.data());
      REQUIRE(back == rgb);
    }
  }
}

TEST_CASE("any L*a*b* becomes the byte next to the definition's value, or the end of the range") {
  Philox random({4, 2, 3}, Stream::kPicture, /*many=*/true);
  PlanesOf<double> lab;
  std::vector<std::uint8_t> rgb(3 * kBlock);
  double worst = 0;
  for (int round = 0; round < 40; ++round) {
    for (std::int64_t i = 0; i < kBlock; ++i) {
      lab.r[i] = -10 + 130 * random.uniform();
      lab.g[i] = -80 + 160 * random.uniform();
      lab.b[i] = -80 + 160 * random.uniform();
    }
    from_lab(lab, kBlock, rgb.data());
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const auto inverse = [](double f) { return f > 6.0 / 29 ? f * f * f : (116 * f - 16) * 27 / 24389; };
      const double y = (lab.r[i] + 16) / 116;
      const double x = 0.950456 * inverse(y + lab.g[i] / 500), z = 1.088754 * inverse(y - lab.b[i] / 200), own = inverse(y);
      // The inverse of the matrix above, to nine digits.
      const double light[3] = {3.240481343 * x - 1.537151516 * own - 0.498536326 * z, -0.969254949 * x + 1.875990002 * own + 0.041555926 * z,
                               0.055646639 * x - 0.204041338 * own + 1.057311070 * z};
      for (std::size_t c = 0; c < 3; ++c)
        worst = std::max(worst, std::abs(rgb[static_cast<std::size_t>(3 * i) + c] - std::clamp(byte_of(std::max(light[c], 0.0)), 0.0, 255.0)));
    }
  }
  CHECK(worst < 0.5001);
}
