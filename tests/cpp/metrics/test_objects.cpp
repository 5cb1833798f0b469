#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "metrics/assignment.h"
#include "metrics/overlaps.h"
#include "metrics/region_overlap.h"

using namespace sslmed;
using namespace sslmed::metrics;

namespace {

// The largest sum over all ways to pair, by trying them.
double best_sum(const std::vector<Edge>& edges, std::int32_t row, std::int32_t rows, std::vector<bool>& taken) {
  if (row == rows) return 0;
  double best = best_sum(edges, row + 1, rows, taken);
  for (const auto& edge : edges) {
    const auto column = static_cast<std::size_t>(edge.column);
    if (edge.row != row || taken[column]) continue;
    taken[column] = true;
    best = std::max(best, edge.weight + best_sum(edges, row + 1, rows, taken));
    taken[column] = false;
  }
  return best;
}

}  // namespace

TEST_CASE("pairs add up to the most there is", "[metrics]") {
  const auto seed = GENERATE(range(0, 12));
  const double share = GENERATE(0.15, 0.5, 1.0);
  Philox random({static_cast<std::uint64_t>(seed), 1, 0}, Stream::kWindow, true);
  const std::int32_t rows = 2 + seed % 5, columns = 2 + seed % 4;
  std::vector<Edge> edges;
  for (std::int32_t i = 0; i < rows; ++i)
    for (std::int32_t j = 0; j < columns; ++j)
      if (random.uniform() < share) edges.push_back({i, j, 0.01 + random.uniform()});
  const auto found = best_pairs(edges, rows, columns);
  double sum = 0;
  std::vector<bool> seen(static_cast<std::size_t>(columns));
  for (const auto& edge : edges)
    if (found[static_cast<std::size_t>(edge.row)] == edge.column) sum += edge.weight;
  for (const auto column : found) {
    if (column < 0) continue;
    CHECK(!seen[static_cast<std::size_t>(column)]);
    seen[static_cast<std::size_t>(column)] = true;
  }
  std::vector<bool> taken(static_cast<std::size_t>(columns));
  CHECK(sum == Approx(best_sum(edges, 0, rows, taken)));
}

TEST_CASE("points pair within the radius, as many as there can be", "[metrics]") {
  const std::vector<Point> rows = {{0, 0, 0}, {0, 0, 3}, {0, 0, 100}, {-40, -40, -40}};
  const std::vector<Point> columns = {{0, 0, 2}, {0, 0, 5}, {-40, -41, -40}};
  CHECK(near_pairs(rows, columns, 2.5) == std::vector<std::int32_t>{0, 1, -1, 2});
  CHECK(near_pairs(rows, columns, 1.5) == std::vector<std::int32_t>{-1, 0, -1, 2});
  CHECK(near_pairs(rows, rows, 0) == std::vector<std::int32_t>{0, 1, 2, 3});
  CHECK(near_pairs(rows, {}, 5) == std::vector<std::int32_t>{-1, -1, -1, -1});
  CHECK(near_pairs({}, rows, 5).empty());
}

TEST_CASE("detections take the best object left; equal ones go to the later", "[metrics]") {
  const DetectionTask task{{0, 2, 3, 5}, {0, 1, 0, 1, 2}, {0.8, 0.8, 0.7, 0.6, 0.9}, {0, 0, 1}, {0, 0, 1}};
  CHECK(match_detections(task, {0.5, 0.75, 0.95}) == std::vector<std::int32_t>{1, 0, 2, 1, -1, 2, -1, -1, -1});
}

TEST_CASE("overlaps and counts of maps of bytes and words agree", "[metrics]") {
  Philox random({5, 0, 0}, Stream::kWindow, true);
  std::vector<std::uint8_t> a(600), b(600);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::uint8_t>(random.uniform() * 4);
    b[i] = i % 97 < 60 ? a[i] : static_cast<std::uint8_t>(random.uniform() * 3);
  }
  const std::vector<std::int32_t> wide_a(a.begin(), a.end()), wide_b(b.begin(), b.end());
  const Shape shape{3, 4, 50};
  const metrics::LabelMap narrow[] = {{a.data(), nullptr, shape, 3}, {b.data(), nullptr, shape, 3}};
  const metrics::LabelMap wide[] = {{nullptr, wide_a.data(), shape, 3}, {nullptr, wide_b.data(), shape, 3}};
  const auto first = overlaps_of(narrow[0], narrow[1]);
  for (const auto& other : {overlaps_of(wide[0], wide[1]), overlaps_of(narrow[0], wide[1]), overlaps_of(wide[0], narrow[1])}) {
    REQUIRE(other.pairs.size() == first.pairs.size());
    for (std::size_t i = 0; i < first.pairs.size(); ++i) CHECK(other.pairs[i].cells == first.pairs[i].cells);
  }
  REQUIRE(first.prediction.size() == 3);
  for (std::int32_t label = 1; label < 4; ++label) {
    const auto counts = mask_counts(narrow[0], narrow[1], label);
    CHECK(counts[0] == std::count(a.begin(), a.end(), label));
    CHECK(counts[1] == std::count(b.begin(), b.end(), label));
    for (const auto& p : narrow)
      for (const auto& r : wide) CHECK(mask_counts(p, r, label)[2] == mask_counts(r, p, label)[2]);
    CHECK(mask_counts(narrow[0], wide[1], label) == counts);
    CHECK(mask_counts(wide[0], narrow[1], label) == counts);
    CHECK(first.prediction[static_cast<std::size_t>(label) - 1].cells == counts[0]);
  }
  CHECK(mask_counts(wide[0], wide[1], {}) == mask_counts(narrow[0], narrow[1], {}));
  CHECK(mask_counts(narrow[0], narrow[1], 300) == std::array<std::int64_t, 3>{0, 0, 0});
}

TEST_CASE("a perfect map finds all of each region before any of the background", "[metrics]") {
  std::vector<double> scores(100);
  std::vector<std::int32_t> regions(100);
  for (std::size_t i = 0; i < 100; ++i) {
    regions[i] = i < 10 ? 1 : i < 30 ? 2 : 0;
    scores[i] = 100 - static_cast<double>(i);
  }
  const auto curve = region_curve(scores.data(), regions.data(), 100, 0.3);
  REQUIRE(!curve.fpr.empty());
  CHECK(curve.fpr.front() == 0);
  CHECK(curve.fpr.back() == Approx(0.3));
  CHECK(curve.tpr.back() == 1);
  CHECK(std::is_sorted(curve.fpr.begin(), curve.fpr.end()));
  CHECK(region_curve(scores.data(), std::vector<std::int32_t>(100).data(), 100, 0.3).fpr.empty());
  CHECK(region_curve(scores.data(), std::vector<std::int32_t>(100, 1).data(), 100, 0.3).fpr.empty());
}
