#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "data/targets.h"

using namespace sslmed;
using namespace sslmed::data;
using transforms::Geometry;

namespace {

std::int64_t cell_count(const std::vector<std::int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()); }

// A label map of cells' own numbers, and one point in the middle of each.
Targets ramp_targets(const std::vector<std::int64_t>& shape) {
  LabelMap map{shape, std::vector<std::int32_t>(static_cast<std::size_t>(cell_count(shape)))};
  std::iota(map.classes.begin(), map.classes.end(), 0);
  Points points{static_cast<std::int64_t>(shape.size()), {}, map.classes};
  for (std::int64_t cell = 0; cell < cell_count(shape); ++cell) {
    std::vector<float> at(shape.size());
    auto rest = cell;
    for (std::size_t a = shape.size(); a-- > 0; rest /= shape[a]) at[a] = static_cast<float>(rest % shape[a]) + 0.5f;
    points.places.insert(points.places.end(), at.begin(), at.end());
  }
  return {{"map", map}, {"points", points}, {"age", 40.0}};
}

// A random chain of crops, flips and quarter turns.
Geometry exact_chain(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kGrid, /*many=*/true);
  auto geometry = Geometry::identity(shape);
  const auto rank = static_cast<std::uint32_t>(shape.size());
  for (int step = 0; step < 5; ++step) {
    const auto which = random.below(3);
    if (which == 0) {
      std::vector<std::int64_t> first, size;
      for (const auto extent : geometry.to) {
        size.push_back(std::max<std::int64_t>(extent - static_cast<std::int64_t>(random.below(3)), 1));
        first.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(extent - size.back() + 1))));
      }
      geometry.crop(first, size);
    } else if (which == 1) {
      geometry.flip(random.below(rank));
    } else if (rank > 1) {
      const auto a = random.below(rank);
      geometry.turn(a, (a + 1) % rank, static_cast<int>(random.below(4)));
    }
  }
  return geometry;
}

// The cell of a row-major map that a point lies in.
std::size_t cell_at(const std::vector<std::int64_t>& shape, const float* place) {
  std::int64_t cell = 0;
  for (std::size_t a = 0; a < shape.size(); ++a) cell = cell * shape[a] + static_cast<std::int64_t>(std::floor(place[a]));
  return static_cast<std::size_t>(cell);
}

}  // namespace

TEST_CASE("label maps and points follow every crop, flip and turn of their array") {
  for (const auto& shape : {std::vector<std::int64_t>{9}, {7, 8}, {5, 6, 7}}) {
    const auto targets = ramp_targets(shape);
    std::vector<float> array(static_cast<std::size_t>(cell_count(shape)));
    std::iota(array.begin(), array.end(), 0.f);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      const auto geometry = exact_chain(shape, seed);
      REQUIRE(geometry.is_exact());
      const auto out = moved(targets, geometry);
      const auto& map = std::get<LabelMap>(out.at("map"));
      std::vector<float> pixels(static_cast<std::size_t>(cell_count(geometry.to)));
      transforms::resample(geometry, array.data(), 1, transforms::Interpolation::kLinear, -1.f, pixels.data());
      REQUIRE(map.shape == geometry.to);
      REQUIRE(std::equal(pixels.begin(), pixels.end(), map.classes.begin(), map.classes.end()));
      // A point stays in the middle of the cell whose number it has; those that were cut off are gone.
      const auto& points = std::get<Points>(out.at("points"));
      REQUIRE(points.classes.size() == pixels.size());
      REQUIRE(points.places.size() == shape.size() * pixels.size());
      for (std::size_t i = 0; i < points.classes.size(); ++i) {
        const auto* place = points.places.data() + shape.size() * i;
        REQUIRE(map.classes[cell_at(geometry.to, place)] == points.classes[i]);
        for (std::size_t a = 0; a < shape.size(); ++a) REQUIRE(place[a] - std::floor(place[a]) == 0.5f);
      }
      CHECK(std::get<double>(out.at("age")) == 40);
    }
  }
}

TEST_CASE("a resized label map is the nearest cell's, and points keep their part of the way") {
  const auto out = moved(ramp_targets({3, 4}), Geometry::identity({3, 4}).resize({6, 12}));
  const auto& map = std::get<LabelMap>(out.at("map"));
  for (std::int32_t y = 0; y < 6; ++y)
    for (std::int32_t x = 0; x < 12; ++x) REQUIRE(map.classes[static_cast<std::size_t>(12 * y + x)] == 4 * (y / 2) + x / 3);
  const auto& points = std::get<Points>(out.at("points"));
  REQUIRE(points.classes.size() == 12);
  for (std::size_t i = 0; i < 12; ++i) {
    CHECK(points.places[2 * i] == Approx(2 * (static_cast<double>(i / 4) + 0.5)));
    CHECK(points.places[2 * i + 1] == Approx(3 * (static_cast<double>(i % 4) + 0.5)));
    CHECK(map.classes[cell_at({6, 12}, points.places.data() + 2 * i)] == points.classes[i]);
  }
}

TEST_CASE("outside of its sample a label map knows nothing") {
  const auto out = moved(ramp_targets({2, 2}), Geometry::identity({2, 2}).affine({1, 0, 0, 1}, {-1, -1}, {4, 4}));
  const auto& map = std::get<LabelMap>(out.at("map"));
  CHECK(map.classes == std::vector<std::int32_t>{-1, -1, -1, -1, -1, 0, 1, -1, -1, 2, 3, -1, -1, -1, -1, -1});
  CHECK(kUnlabeled == -1);
  CHECK(std::get<Points>(out.at("points")).classes.size() == 4);
}

TEST_CASE("points beyond the view are left out, and those on its edges are not") {
  const Points points{2, {1, 1, 1, 3, 3, 1, 0.5, 2, 2.9f, 2.9f}, {0, 1, 2, 3, 4}};
  const auto out = std::get<Points>(moved({{"p", points}}, Geometry::identity({4, 4}).crop({1, 1}, {2, 2})).at("p"));
  CHECK(out.classes == std::vector<std::int32_t>{0, 1, 2, 4});
  CHECK(out.places[0] == 0);
  CHECK(out.places[1] == 0);
  CHECK(out.places[6] == Approx(1.9));
  // A flip loses none.
  const Points edges{1, {0, 4}, {5, 6}};
  const auto flipped = std::get<Points>(moved({{"p", edges}}, Geometry::identity({4}).flip(0)).at("p"));
  CHECK(flipped.classes == std::vector<std::int32_t>{5, 6});
  CHECK(flipped.places == std::vector<float>{4, 0});
  CHECK(out.rank == 2);
}

TEST_CASE("boxes follow, are cut at the edges, and go where nothing of them is left") {
  const Boxes boxes{2, {1, 2, 3, 5, 0, 0, 1, 1, 2, 0, 4, 6, 3, 3, 3, 5}, {10, 11, 12, 13}};
  const auto through = [&](const Geometry& geometry) { return std::get<Boxes>(moved({{"b", boxes}}, geometry).at("b")); };
  // Mirrored along the second axis of 6: [2, 5] becomes [1, 4].
  auto out = through(Geometry::identity({4, 6}).flip(1));
  CHECK(out.classes == std::vector<std::int32_t>{10, 11, 12});  // the last has no height
  CHECK(std::vector<float>(out.edges.begin(), out.edges.begin() + 4) == std::vector<float>{1, 1, 3, 4});
  // A quarter: rows are the columns from the right.
  out = through(Geometry::identity({4, 6}).turn(0, 1, 1));
  CHECK(std::vector<float>(out.edges.begin(), out.edges.begin() + 4) == std::vector<float>{1, 1, 4, 3});
  out = through(Geometry::identity({4, 6}).resize({8, 3}));
  CHECK(std::vector<float>(out.edges.begin(), out.edges.begin() + 4) == std::vector<float>{2, 1, 6, 2.5});
  out = through(Geometry::identity({4, 6}).crop({1, 3}, {2, 3}));
  CHECK(out.classes == std::vector<std::int32_t>{10, 12});
  CHECK(out.edges == std::vector<float>{0, 0, 2, 2, 1, 0, 2, 3});
  // An eighth of a turn: the box around what was one. A unit square about its middle is as wide as its diagonal.
  const double half = std::sqrt(0.5);
  const Boxes square{2, {1.5, 1.5, 2.5, 2.5}, {0}};
  const auto geometry = Geometry::identity({4, 4}).affine({half, -half, half, half}, {2, 2 - 4 * half}, {4, 4});
  const auto turned = std::get<Boxes>(moved({{"b", square}}, geometry).at("b"));
  for (std::size_t a = 0; a < 2; ++a) {
    CHECK(turned.edges[a] == Approx(2 - half));
    CHECK(turned.edges[2 + a] == Approx(2 + half));
  }
}

TEST_CASE("boxes of cells hold the cells that they held") {
  const std::vector<std::int64_t> shape{5, 6, 7};
  const Boxes boxes{3, {1, 1, 2, 4, 5, 6}, {1}};
  const auto targets = ramp_targets(shape);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto geometry = exact_chain(shape, seed);
    const auto map = std::get<LabelMap>(moved(targets, geometry).at("map"));
    const auto out = std::get<Boxes>(moved({{"b", boxes}}, geometry).at("b"));
    for (std::size_t cell = 0; cell < map.classes.size(); ++cell) {
      const std::int64_t z = map.classes[cell] / 42, y = map.classes[cell] / 7 % 6, x = map.classes[cell] % 7;
      const bool held = z >= 1 && z < 4 && y >= 1 && y < 5 && x >= 2 && x < 6;
      bool holds = !out.classes.empty();
      auto rest = static_cast<std::int64_t>(cell);
      for (std::size_t a = 3; holds && a-- > 0; rest /= geometry.to[a]) {
        const auto at = static_cast<float>(rest % geometry.to[a]);
        holds = at >= out.edges[a] && at < out.edges[3 + a];
      }
      REQUIRE(holds == held);
    }
  }
}

TEST_CASE("targets of another size or rank are refused by name") {
  const auto geometry = Geometry::identity({4, 6});
  CHECK_THROWS_WITH(moved({{"tumor", LabelMap{{6, 4}, std::vector<std::int32_t>(24)}}}, geometry),
                    Catch::Contains("target 'tumor'") && Catch::Contains("cells"));
  CHECK_THROWS_WITH(moved({{"nuclei", Points{3, {1, 1, 1}, {0}}}}, geometry), Catch::Contains("target 'nuclei'") && Catch::Contains("rank 3"));
  CHECK_THROWS_WITH(moved({{"glands", Boxes{1, {0, 1}, {0}}}}, geometry), Catch::Contains("target 'glands'") && Catch::Contains("rank 1"));
  CHECK_THROWS_AS(moved({{"glands", Boxes{1, {0, 1}, {0}}}}, geometry), ValueError);
}
