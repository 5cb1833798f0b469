#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "transforms/orientation.h"

using namespace sslmed;
using namespace sslmed::transforms;

TEST_CASE("a volume's axes are brought to RAS+") {
  // Stored as posterior, superior, right; 2, 3 and 4 mm.
  const Affine3 psr{0, 0, 4, 10, -2, 0, 0, 20, 0, 3, 0, 30, 0, 0, 0, 1};
  const auto orientation = closest_canonical(psr);
  CHECK(orientation.text() == "PSR");
  CHECK(orientation.axis == std::array<std::size_t, 3>{2, 0, 1});
  CHECK(orientation.flip == std::array<bool, 3>{false, true, false});
  const std::array<std::int64_t, 3> shape{5, 6, 7};
  std::vector<float> values(5 * 6 * 7);
  std::iota(values.begin(), values.end(), 0.0f);  // the first axis runs fastest
  const auto upright = reorient(values, shape, orientation);
  const auto affine = reoriented(psr, shape, orientation);
  // Each cell is where it was.
  for (std::int64_t x = 0; x < 7; ++x)
    for (std::int64_t y = 0; y < 5; ++y)
      for (std::int64_t z = 0; z < 6; ++z) {
        const auto value = upright[static_cast<std::size_t>((x * 5 + y) * 6 + z)];
        const std::array<double, 3> stored{4.0 - static_cast<double>(y), static_cast<double>(z), static_cast<double>(x)};
        CHECK(value == Approx(stored[0] + 5 * (stored[1] + 6 * stored[2])));
        for (std::size_t i = 0; i < 3; ++i) {
          const double before = psr[4 * i] * stored[0] + psr[4 * i + 1] * stored[1] + psr[4 * i + 2] * stored[2] + psr[4 * i + 3];
          const double after = affine[4 * i] * static_cast<double>(x) + affine[4 * i + 1] * static_cast<double>(y) +
                               affine[4 * i + 2] * static_cast<double>(z) + affine[4 * i + 3];
          CHECK(before == Approx(after));
        }
      }
}

TEST_CASE("an oblique volume goes to the nearest axes, and a flat one is refused") {
  const double c = std::cos(0.4), s = std::sin(0.4);
  const Affine3 oblique{-c, s, 0, 0, -s, -c, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1};
  CHECK(closest_canonical(oblique).text() == "LPS");
  CHECK_THROWS_AS(closest_canonical({1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}), ValueError);
  CHECK_THROWS_AS(closest_canonical({0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}), ValueError);
}

TEST_CASE("sampling at cells of another grid") {
  const std::array<std::int64_t, 3> shape{4, 3, 5};
  std::vector<float> ramp(60);
  for (std::int64_t x = 0; x < 4; ++x)
    for (std::int64_t y = 0; y < 3; ++y)
      for (std::int64_t z = 0; z < 5; ++z) ramp[static_cast<std::size_t>((x * 3 + y) * 5 + z)] = static_cast<float>(100 * x + 10 * y + z);
  const Affine3 map{0, 0, 0.5, 0.25, 1, 0, 0, 0, 0, 2, 0, -1, 0, 0, 0, 1};
  std::vector<float> into(2 * 3 * 4);
  sample_linear(ramp.data(), shape, map, {2, 3, 4}, into.data());
  std::size_t i = 0;
  for (std::int64_t x = 0; x < 2; ++x)
    for (std::int64_t y = 0; y < 3; ++y)
      for (std::int64_t z = 0; z < 4; ++z, ++i) {
        const double at[3] = {0.5 * static_cast<double>(z) + 0.25, static_cast<double>(x), std::max(0.0, 2.0 * static_cast<double>(y) - 1)};
        CHECK(into[i] == Approx(100 * at[0] + 10 * at[1] + at[2]));
      }
  sample_nearest(ramp.data(), shape, map, {2, 3, 4}, into.data());
  CHECK(into[3] == Approx(200));  // x 1.75, y 0, z -1
  const auto back = product(inverse(map), map);
  for (std::size_t j = 0; j < 16; ++j) CHECK(back[j] == Approx(j % 5 == 0 ? 1.0 : 0.0).margin(1e-12));
}

TEST_CASE("cells of any size have an inverse, flat ones have none") {
  for (const double mm : {5e-5, 1.0, 1e6}) {
    const Affine3 affine{mm, 0, 0, 1, 0, 0, mm, 2, 0, -mm, 0, 3, 0, 0, 0, 1};
    const auto one = product(inverse(affine), affine);
    for (std::size_t j = 0; j < 16; ++j) CHECK(one[j] == Approx(j % 5 == 0 ? 1.0 : 0.0).margin(1e-9));
    CHECK_THROWS_AS(inverse({mm, mm, 0, 0, mm, mm, 0, 0, 0, 0, mm, 0, 0, 0, 0, 1}), ValueError);
  }
}
