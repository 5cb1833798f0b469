#include <catch2/catch.hpp>

#include "core/error.h"
#include "transforms/tissue.h"

using namespace sslmed::transforms;

TEST_CASE("Otsu's threshold parts two peaks, and is 0 where there is one value") {
  std::vector<std::int64_t> histogram(256);
  histogram[10] = 500;
  histogram[12] = 300;
  histogram[200] = 100;
  CHECK(otsu_threshold(histogram) == 12);
  CHECK(otsu_threshold(std::vector<std::int64_t>(256)) == 0);
  std::vector<std::int64_t> one(256);
  one[77] = 9;
  CHECK(otsu_threshold(one) == 0);
}

TEST_CASE("ink is what no stain looks like") {
  CHECK(is_ink(30, 170, 130));
  CHECK(is_ink(40, 90, 220));
  CHECK(is_ink(210, 20, 40));
  CHECK(is_ink(10, 10, 12));
  CHECK_FALSE(is_ink(220, 150, 190));  // eosin
  CHECK_FALSE(is_ink(90, 60, 150));    // haematoxylin
  CHECK_FALSE(is_ink(140, 90, 50));    // DAB
  CHECK_FALSE(is_ink(150, 160, 205));  // pale counterstain
  CHECK_FALSE(is_ink(243, 242, 244));  // glass
}

TEST_CASE("pictures of one pixel, and options that cannot be") {
  const std::vector<std::uint8_t> rgb(3, 100);
  CHECK(tissue_mask(rgb.data(), 1, 1, {}) == std::vector<std::uint8_t>{0});
  CHECK_THROWS_AS(tissue_mask(rgb.data(), 0, 1, {}), sslmed::ValueError);
  CHECK_THROWS_AS(tissue_mask(rgb.data(), 1, 1, {TissueMethod::kOtsu, 0}), sslmed::ValueError);
}
