#include <catch2/catch.hpp>

#include "core/random.h"
#include "transforms/foreground.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

const std::array<std::int64_t, 3> kSide{20, 22, 24};

// A ball of value 5 + noise with a hole, in a background of `background` + noise, and a smaller ball beside it.
std::vector<float> balls(float background, double noise, std::vector<std::uint8_t>& truth) {
  std::vector<float> values;
  truth.clear();
  Philox random({7, 0, 0}, Stream::kWindow, true);
  for (int x = 0; x < 20; ++x)
    for (int y = 0; y < 22; ++y)
      for (int z = 0; z < 24; ++z) {
        const int d = (x - 9) * (x - 9) + (y - 10) * (y - 10) + (z - 10) * (z - 10);
        const bool small = (x - 17) * (x - 17) + (y - 19) * (y - 19) + (z - 21) * (z - 21) <= 2;
        const bool shown = (d <= 49 && d > 4) || small;
        const double value = (shown ? 5.0 : background) + noise * random.uniform();
        values.push_back(static_cast<float>(value));
        truth.push_back(d <= 49 ? 1 : 0);
      }
  return values;
}

}  // namespace

TEST_CASE("the largest bright piece is the foreground, without its holes") {
  std::vector<std::uint8_t> truth;
  const auto values = balls(1, 1.5, truth);
  CHECK(foreground(values, kSide) == truth);
}

TEST_CASE("a background of one value is what was masked out, whatever the value") {
  std::vector<std::uint8_t> truth;
  for (const float background : {0.0f, 5.5f, 9.0f}) {
    auto values = balls(background, 0, truth);
    // Everything else is kept, small pieces too.
    auto expected = truth;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] == 5.0f) expected[i] = 1;
    CHECK(foreground(values, kSide) == expected);
  }
}

TEST_CASE("a constant volume has no foreground") {
  const std::vector<float> flat(20 * 22 * 24, 3);
  const auto mask = foreground(flat, kSide);
  CHECK(std::count(mask.begin(), mask.end(), 0) == static_cast<std::ptrdiff_t>(flat.size()));
}
