#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "transforms/augment.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

// Red is the column, green the row.
std::vector<std::uint8_t> ramp(std::int64_t width, std::int64_t height) {
  std::vector<std::uint8_t> rgb;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) rgb.insert(rgb.end(), {static_cast<std::uint8_t>(x), static_cast<std::uint8_t>(y), 90});
  return rgb;
}

// Drawn and made; where its pixels lie.
Affine augment(const std::uint8_t* source, std::int64_t width, std::int64_t height, const Augmentation& how, const Frame& frame, Philox& random,
               std::uint8_t* into) {
  const auto drawn = plan(width, height, how, frame, random);
  apply(drawn, source, width, height, into);
  return place_of(drawn);
}

}  // namespace

TEST_CASE("views of several zooms from the middle show one place, each coarser than the last") {
  const auto picture = ramp(200, 160);
  std::vector<std::uint8_t> view(3 * 32 * 32);
  for (const double zoom : {1.0, 1.5, 2.0, 5.0}) {
    Philox random({1, 2, 3}, Stream::kPicture, /*many=*/true);
    const auto place = augment(picture.data(), 200, 160, {}, {32, zoom, true}, random, view.data());
    CHECK(place[0] == Approx(zoom));
    CHECK(place[4] == Approx(zoom));
    CHECK(std::abs(place[0] * 16 + place[2] - 100) <= 1);
    CHECK(std::abs(place[4] * 16 + place[5] - 80) <= 1);
    // A pixel's middle, looked up in the picture, has the colour that the ramp has there.
    for (const std::int64_t at : {5, 16, 27}) {
      const auto* pixel = view.data() + 3 * (at * 32 + at);
      const double middle = static_cast<double>(at) + 0.5;
      CHECK(std::abs(pixel[0] - (place[0] * middle + place[2] - 0.5)) <= 1);
      CHECK(std::abs(pixel[1] - (place[4] * middle + place[5] - 0.5)) <= 1);
    }
  }
}

TEST_CASE("a zoomed view is drawn from anywhere in the picture") {
  const auto picture = ramp(200, 160);
  std::vector<std::uint8_t> view(3 * 32 * 32);
  double left = 1e9, right = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    Philox random({1, 0, i}, Stream::kPicture, /*many=*/true);
    const auto place = augment(picture.data(), 200, 160, {}, {32, 2.5, false}, random, view.data());
    left = std::min(left, place[2]);
    right = std::max(right, place[2] + 80);
  }
  CHECK(left >= 0);
  CHECK(left < 10);
  CHECK(right <= 200);
  CHECK(right > 190);
}

TEST_CASE("Macenko's change keeps what is no tissue") {
  // Two stains in stripes on white.
  std::vector<std::uint8_t> picture;
  for (int i = 0; i < 64 * 64; ++i) {
    const int depth = i % 23;
    if (i % 64 < 20) picture.insert(picture.end(), {250, 250, 250});
    if (i % 64 >= 20 && i % 64 < 42) picture.insert(picture.end(), {static_cast<std::uint8_t>(90 + 2 * depth), static_cast<std::uint8_t>(60 + depth), 150});
    if (i % 64 >= 42) picture.insert(picture.end(), {static_cast<std::uint8_t>(210 + depth), static_cast<std::uint8_t>(90 + 3 * depth), 170});
  }
  Augmentation how;
  how.macenko = 0.4;
  int changed = 0;
  for (std::uint64_t draw = 0; draw < 5; ++draw) {
    std::vector<std::uint8_t> view(picture.size());
    Philox random({1, 0, draw}, Stream::kPicture, /*many=*/true);
    augment(picture.data(), 64, 64, how, {64}, random, view.data());
    for (std::size_t i = 0; i < picture.size(); i += 3)
      if (picture[i] == 250)
        REQUIRE(std::equal(view.begin() + static_cast<std::ptrdiff_t>(i), view.begin() + static_cast<std::ptrdiff_t>(i) + 3,
                           picture.begin() + static_cast<std::ptrdiff_t>(i)));
    changed += view != picture ? 1 : 0;
  }
  CHECK(changed == 5);
}

TEST_CASE("a view that cannot be is refused") {
  Augmentation crops;
  crops.area_low = 0.2;
  CHECK_THROWS_AS(check({32, 2}, crops), ValueError);
  CHECK_THROWS_AS(check({32, 1, true}, crops), ValueError);
  CHECK_THROWS_AS(check({0}, {}), ValueError);
  CHECK_THROWS_AS(check({32, 0}, {}), ValueError);
  CHECK_THROWS_AS(check({32, std::nan("")}, {}), ValueError);
  Augmentation bad;
  bad.macenko = 2;
  CHECK_THROWS_AS(check(bad), ValueError);
  const auto picture = ramp(40, 40);
  std::vector<std::uint8_t> view(3 * 32 * 32);
  Philox random({}, Stream::kPicture, /*many=*/true);
  CHECK_THROWS_AS(augment(picture.data(), 40, 40, {}, {32, 1.5}, random, view.data()), ValueError);
}
