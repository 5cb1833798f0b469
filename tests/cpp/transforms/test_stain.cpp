#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "transforms/stain.h"

using namespace sslmed::transforms;

namespace {

// Pixels of two stains in every proportion, and glass.
std::vector<std::uint8_t> picture(const std::array<std::array<double, 3>, 2>& vectors) {
  std::vector<std::uint8_t> rgb;
  for (int h = 0; h < 20; ++h)
    for (int e = 0; e < 20; ++e)
      for (std::size_t c = 0; c < 3; ++c)
        rgb.push_back(static_cast<std::uint8_t>(std::lround(255 * std::exp(-0.08 * (h * vectors[0][c] + e * vectors[1][c])))));
  rgb.insert(rgb.end(), 300, 255);
  return rgb;
}

constexpr std::array<std::array<double, 3>, 2> kStains{{{0.65, 0.70, 0.29}, {0.09, 0.95, 0.28}}};

}  // namespace

TEST_CASE("the stains that made a picture are found in it, haematoxylin first") {
  const auto rgb = picture(kStains);
  const auto found = macenko_fit(rgb.data(), static_cast<std::int64_t>(rgb.size() / 3));
  REQUIRE(found);
  for (std::size_t k = 0; k < 2; ++k) {
    double product = 0, length = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      product += found->vectors[k][c] * kStains[k][c];
      length += kStains[k][c] * kStains[k][c];
    }
    CHECK(product / std::sqrt(length) > 0.999);
  }
}

TEST_CASE("a picture with its own stains stays, and one without tissue has none") {
  auto rgb = picture(kStains);
  const auto before = rgb;
  const auto pixels = static_cast<std::int64_t>(rgb.size() / 3);
  const auto found = macenko_fit(rgb.data(), pixels);
  macenko_transform(rgb.data(), pixels, *found, *found);
  int worst = 0;
  for (std::size_t i = 0; i < rgb.size(); ++i) worst = std::max(worst, std::abs(rgb[i] - before[i]));
  CHECK(worst <= 2);
  const std::vector<std::uint8_t> glass(3000, 240);
  CHECK_FALSE(macenko_fit(glass.data(), 1000));
  CHECK_FALSE(macenko_fit(glass.data(), 0));
  const std::vector<std::uint8_t> grey(3000, 90);
  CHECK_FALSE(macenko_fit(grey.data(), 1000));
}

TEST_CASE("jitter of nothing changes nothing, and of 1,030 pixels as of each") {
  std::vector<std::uint8_t> rgb(3 * 1030);
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i * 37 % 256);
  auto same = rgb;
  hed_jitter(same.data(), 1030, {1, 1, 1}, {0, 0, 0});
  CHECK(same == rgb);
  auto all = rgb, each = rgb;
  hed_jitter(all.data(), 1030, {0.9, 1.1, 1}, {0.01, 0, -0.02});
  for (std::int64_t i = 0; i < 1030; ++i) hed_jitter(each.data() + 3 * i, 1, {0.9, 1.1, 1}, {0.01, 0, -0.02});
  CHECK(all == each);
}
