#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

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

const std::array<std::int64_t, 3> kHead{64, 72, 64};

// The magnitude of a head of two tissues and of noise, as a scanner gives it; `head` is 1 within it.
std::vector<float> raw_head(std::vector<std::uint8_t>& head) {
  std::vector<float> values;
  Philox random({9, 0, 0}, Stream::kWindow, true);
  for (int x = 0; x < 64; ++x)
    for (int y = 0; y < 72; ++y)
      for (int z = 0; z < 64; ++z) {
        const double d = std::pow((x - 31.5) / 20, 2) + std::pow((y - 35.5) / 25, 2) + std::pow((z - 31.5) / 20, 2);
        const double signal = d > 1 ? 0 : (x / 4 + y / 4 + z / 4) % 2 == 0 ? 60 : 100;
        values.push_back(static_cast<float>(std::hypot(signal + 5 * random.normal(), 5 * random.normal())));
        head.push_back(d <= 1 ? 1 : 0);
      }
  return values;
}

double share_of(const std::vector<std::uint8_t>& found, const std::vector<std::uint8_t>& truth) {
  return static_cast<double>(std::count(found.begin(), found.end(), 1)) / static_cast<double>(std::count(truth.begin(), truth.end(), 1));
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

TEST_CASE("a raw head with a rim of zeros is no masked one") {
  std::vector<std::uint8_t> head;
  auto values = raw_head(head);
  CHECK(share_of(foreground(values, kHead), head) == Approx(1).epsilon(0.05));
  std::size_t i = 0;
  for (int x = 0; x < 64; ++x)
    for (int y = 0; y < 72; ++y)
      for (int z = 0; z < 64; ++z, ++i)
        if (std::min({x, 63 - x, y, 71 - y, z, 63 - z}) < 3) values[i] = 0;
  CHECK(share_of(foreground(values, kHead), head) == Approx(1).epsilon(0.05));
}

TEST_CASE("a raw head whose noise floor was cut to zero is no masked one") {
  for (const double share : {0.2, 0.5, 0.8}) {
    std::vector<std::uint8_t> head;
    auto values = raw_head(head);
    std::vector<float> air;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (head[i] == 0) air.push_back(values[i]);
    std::sort(air.begin(), air.end());
    const float floor = air[static_cast<std::size_t>(share * static_cast<double>(air.size()))];
    for (auto& value : values) value = value < floor ? 0 : value;
    for (const std::size_t x : {0, 63})
      for (const std::size_t y : {0, 71})
        for (const std::size_t z : {0, 63}) values[(x * 72 + y) * 64 + z] = 0;
    CAPTURE(share);
    CHECK(share_of(foreground(values, kHead), head) == Approx(1).epsilon(0.05));
  }
}

TEST_CASE("two tissues without air stay as they were masked") {
  std::vector<std::uint8_t> head;
  auto values = raw_head(head);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (head[i] == 0) values[i] = 0;
  CHECK(foreground(values, kHead) == head);
}
