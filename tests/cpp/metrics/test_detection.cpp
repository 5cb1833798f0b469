#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "core/random.h"
#include "metrics/stars.h"
#include "metrics/suppression.h"

using namespace sslmed;
using namespace sslmed::metrics;

TEST_CASE("suppression finds what comparing all pairs finds") {
  Philox random({1, 0, 0}, Stream::kPicture);
  constexpr std::size_t kMany = 500;
  Candidates candidates;
  std::vector<double> places, edges;
  for (std::size_t i = 0; i < kMany; ++i) {
    candidates.scores.push_back(std::floor(10 * random.uniform()));  // many equal ones
    for (int axis = 0; axis < 3; ++axis) places.push_back(30 * random.uniform() - 15);
    for (int axis = 0; axis < 3; ++axis) edges.push_back(places[3 * i + static_cast<std::size_t>(axis)]);
    for (int axis = 0; axis < 3; ++axis) edges.push_back(edges[6 * i + static_cast<std::size_t>(axis)] + 0.1 + 9 * std::pow(random.uniform(), 3));
  }
  const auto all_pairs = [&](auto&& overlaps) {
    std::vector<std::int64_t> order(kMany), kept;
    for (std::size_t i = 0; i < kMany; ++i) order[i] = static_cast<std::int64_t>(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return candidates.scores[static_cast<std::size_t>(a)] > candidates.scores[static_cast<std::size_t>(b)]; });
    for (const auto i : order)
      if (std::none_of(kept.begin(), kept.end(), [&](auto j) { return overlaps(static_cast<std::size_t>(i), static_cast<std::size_t>(j)); })) kept.push_back(i);
    return kept;
  };
  CHECK(suppress_points(candidates, places, 3, 5) == all_pairs([&](std::size_t i, std::size_t j) {
          return std::hypot(places[3 * i] - places[3 * j], places[3 * i + 1] - places[3 * j + 1], places[3 * i + 2] - places[3 * j + 2]) < 5;
        }));
  CHECK(suppress_boxes(candidates, edges, 3, 0.05) == all_pairs([&](std::size_t i, std::size_t j) {
          double shared = 1, one = 1, two = 1;
          for (std::size_t axis = 0; axis < 3; ++axis) {
            shared *= std::max(0.0, std::min(edges[6 * i + 3 + axis], edges[6 * j + 3 + axis]) - std::max(edges[6 * i + axis], edges[6 * j + axis]));
            one *= edges[6 * i + 3 + axis] - edges[6 * i + axis];
            two *= edges[6 * j + 3 + axis] - edges[6 * j + axis];
          }
          return shared / (one + two - shared) > 0.05;
        }));
  // Objects of other classes are left alone.
  candidates.classes.assign(kMany, 0);
  for (std::size_t i = 0; i < kMany; ++i) candidates.classes[i] = static_cast<std::int32_t>(i);
  CHECK(suppress_points(candidates, places, 3, 5).size() == kMany);
  CHECK(suppress_points({}, {}, 2, 5).empty());
}

TEST_CASE("the shared area of two squares is exact") {
  // Four rays of length √2 · a turned by none are a diamond; its area is 2 r².
  const double r = 5;
  Stars stars{{10, 10, 10, 15, 10, 40}, std::vector<double>(12, r), 4};
  CHECK(stars.area(0) == Approx(2 * r * r));
  CHECK(shared_area(stars, 0, 0, 1e9) == Approx(2 * r * r));
  CHECK(shared_area(stars, 0, 1, 1e9) == Approx(r * r / 2));  // a diamond half as wide
  CHECK(shared_area(stars, 0, 2, 1e9) == 0);
  CHECK(shared_area(stars, 0, 0, 10) > 10);  // stops early
  const Candidates candidates{{0.5, 0.9, 0.1}, {}};
  CHECK(suppress_stars(candidates, stars, 0.2, StarOverlap::kSmaller) == std::vector<std::int64_t>{1, 2});
  CHECK(suppress_stars(candidates, stars, 0.2, StarOverlap::kUnion) == std::vector<std::int64_t>{1, 0, 2});  // 1 / 7
}

TEST_CASE("a disc's distances are its radius, and drawn again it is the disc") {
  constexpr std::int64_t kSide = 40;
  std::vector<std::int32_t> labels(kSide * kSide, 0);
  for (std::int64_t y = 0; y < kSide; ++y)
    for (std::int64_t x = 0; x < kSide; ++x)
      if ((y - 20) * (y - 20) + (x - 18) * (x - 18) <= 100) labels[static_cast<std::size_t>(y * kSide + x)] = 3 + (1 << 16);
  std::vector<float> distances(kSide * kSide * 32);
  star_distances(labels.data(), kSide, kSide, 1, 32, distances.data());
  const auto* middle = distances.data() + (20 * kSide + 18) * 32;
  for (int k = 0; k < 32; ++k) CHECK(middle[k] == Approx(10.5).margin(1.1));
  CHECK(distances[0] == 0);
  Stars stars{{20.5, 18.5}, std::vector<double>(middle, middle + 32), 32};
  std::vector<std::int32_t> drawn(labels.size(), 0);
  draw_stars(stars, kSide, kSide, drawn.data());
  int differ = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) differ += (labels[i] > 0) != (drawn[i] > 0);
  CHECK(differ <= 20);
  std::vector<float> probability(labels.size());
  object_probability(labels.data(), kSide, kSide, probability.data());
  CHECK(probability[20 * kSide + 18] == 1);
  CHECK(probability[0] == 0);
}
