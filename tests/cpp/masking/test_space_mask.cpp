#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <set>
#include <vector>

#include "core/error.h"
#include "masking/space_mask.h"

using namespace sslmed;
using namespace sslmed::masking;

namespace {

// Electrodes on a line, 10 mm apart, each with `steps` tokens.
struct Line {
  std::vector<float> coords;
  std::vector<std::int32_t> grid;
  std::int64_t n = 0;
  Line(std::int32_t channels, std::int32_t steps) {
    for (std::int32_t c = 0; c < channels; ++c)
      for (std::int32_t t = 0; t < steps; ++t, ++n) {
        coords.insert(coords.end(), {10.f * static_cast<float>(c), 0, 0, static_cast<float>(t)});
        grid.insert(grid.end(), {c, t});
      }
  }
  Places places() const { return {coords.data(), grid.data(), n}; }
};

}  // namespace

TEST_CASE("as many tokens as asked for stay, each once, by the draw alone") {
  const Line line(7, 9);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const std::int64_t keep : {1, 20, 62}) {
      const auto mask = space_mask(line.places(), keep, 15, 3, {seed, 0, 0});
      CHECK(static_cast<std::int64_t>(mask.visible.size()) == keep);
      std::vector<std::int32_t> all(mask.visible);
      all.insert(all.end(), mask.masked.begin(), mask.masked.end());
      CHECK(std::is_sorted(mask.visible.begin(), mask.visible.end()));
      CHECK(std::is_sorted(mask.masked.begin(), mask.masked.end()));
      CHECK(std::set<std::int32_t>(all.begin(), all.end()).size() == static_cast<std::size_t>(line.n));
      CHECK(space_mask(line.places(), keep, 15, 3, {seed, 0, 0}).masked == mask.masked);
    }
  }
}

TEST_CASE("a block is what lies within the radius of one electrode over its steps") {
  const Line line(9, 8);
  std::set<std::int32_t> widths;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    // Nine tokens hidden: one whole block of three electrodes and three steps wherever it does not reach a border.
    const auto mask = space_mask(line.places(), line.n - 9, 10, 3, {seed, 0, 0});
    std::set<std::int32_t> channels, steps;
    for (const auto i : mask.masked) {
      channels.insert(line.grid[2 * static_cast<std::size_t>(i)]);
      steps.insert(line.grid[2 * static_cast<std::size_t>(i) + 1]);
    }
    if (channels.size() == 3 && steps.size() == 3) widths.insert(*channels.rbegin() - *channels.begin());
  }
  CHECK(widths == std::set<std::int32_t>{2});
}

TEST_CASE("an electrode without a place is hidden alone") {
  Line line(5, 4);
  for (std::size_t t = 0; t < 4; ++t) line.coords[4 * (2 * 4 + t)] = std::numeric_limits<float>::quiet_NaN();
  bool alone = false;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto mask = space_mask(line.places(), line.n - 4, 1000, 4, {seed, 0, 0});
    std::set<std::int32_t> channels;
    for (const auto i : mask.masked) channels.insert(line.grid[2 * static_cast<std::size_t>(i)]);
    if (channels == std::set<std::int32_t>{2}) alone = true;
  }
  CHECK(alone);
}

TEST_CASE("what cannot be masked by regions is refused") {
  const Line line(3, 3);
  CHECK_THROWS_AS(space_mask(line.places(), 0, 10, 2, {0, 0, 0}), ValueError);
  CHECK_THROWS_AS(space_mask(line.places(), 9, 10, 2, {0, 0, 0}), ValueError);
  CHECK_THROWS_AS(space_mask(line.places(), 4, -1, 2, {0, 0, 0}), ValueError);
  CHECK_THROWS_AS(space_mask(line.places(), 4, 10, 0, {0, 0, 0}), ValueError);
}
