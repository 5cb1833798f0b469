#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "masking/blockwise_mask.h"
#include "masking/masker.h"

using namespace sslmed;
using namespace sslmed::masking;

namespace {

std::vector<std::int64_t> every_cell(const std::vector<std::int32_t>& extent) {
  std::int64_t n = 1;
  for (const auto side : extent) n *= side;
  std::vector<std::int64_t> cells(static_cast<std::size_t>(n));
  std::iota(cells.begin(), cells.end(), 0);
  return cells;
}

// Whether the masked cells of a grid of two axes are one rectangle; gives its sides.
bool is_rectangle(const Mask& mask, std::int32_t columns, double& rows_of, double& columns_of) {
  std::int32_t top = 1 << 20, bottom = -1, left = 1 << 20, right = -1;
  for (const auto cell : mask.masked) {
    top = std::min(top, cell / columns);
    bottom = std::max(bottom, cell / columns);
    left = std::min(left, cell % columns);
    right = std::max(right, cell % columns);
  }
  rows_of = bottom - top + 1;
  columns_of = right - left + 1;
  return rows_of * columns_of == static_cast<double>(mask.masked.size());
}

}  // namespace

TEST_CASE("rectangles hide an exact number of tokens in any rank") {
  for (const auto& extent : {std::vector<std::int32_t>{14, 14}, {6, 6, 6}, {19, 4}, {3, 4, 5, 2}}) {
    const auto cells = every_cell(extent);
    const auto n = static_cast<std::int64_t>(cells.size());
    for (const double ratio : {0.1, 0.3, 0.5, 0.9}) {
      const auto keep = keep_count(n, ratio);
      const auto mask = blockwise_mask(extent, cells, keep, {3, 1, 5});
      CHECK(static_cast<std::int64_t>(mask.visible.size()) == keep);
      CHECK(static_cast<std::int64_t>(mask.masked.size()) == n - keep);
      CHECK(std::is_sorted(mask.visible.begin(), mask.visible.end()));
      CHECK(std::is_sorted(mask.masked.begin(), mask.masked.end()));
      std::vector<std::int32_t> all = mask.visible;
      all.insert(all.end(), mask.masked.begin(), mask.masked.end());
      std::sort(all.begin(), all.end());
      CHECK(std::unique(all.begin(), all.end()) == all.end());
      CHECK(blockwise_mask(extent, cells, keep, {3, 1, 5}).masked == mask.masked);
      CHECK(blockwise_mask(extent, cells, keep, {3, 1, 6}).masked != mask.masked);
    }
  }
}

TEST_CASE("a single rectangle has an area and an aspect in range") {
  // What is to be hidden is the least area of a block: whole masks of a single block are common.
  const std::vector<std::int32_t> extent{20, 20};
  const auto cells = every_cell(extent);
  int rectangles = 0, wide = 0, tall = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const auto mask = blockwise_mask(extent, cells, 400 - 24, {0, 0, i}, {{0.3, 3.3}, 24, 10});
    double rows = 0, columns = 0;
    if (!is_rectangle(mask, 20, rows, columns)) continue;
    ++rectangles;
    CHECK(rows / columns >= 0.3 * 0.8);  // sides are rounded
    CHECK(rows / columns <= 3.3 * 1.25);
    wide += columns > rows;
    tall += rows > columns;
  }
  CHECK(rectangles > 100);
  CHECK(wide > rectangles / 4);
  CHECK(tall > rectangles / 4);
}

TEST_CASE("neighbours are hidden together") {
  const std::vector<std::int32_t> extent{14, 14};
  const auto cells = every_cell(extent);
  double together = 0, pairs = 0;
  std::vector<int> hidden(196, 0);
  for (std::uint64_t i = 0; i < 500; ++i) {
    const auto mask = blockwise_mask(extent, cells, 196 - 59, {0, 0, i});
    std::vector<int> is(196, 0);
    for (const auto cell : mask.masked) is[static_cast<std::size_t>(cell)] = 1, ++hidden[static_cast<std::size_t>(cell)];
    for (std::size_t cell = 0; cell < 196; ++cell) {
      if (cell % 14 == 13 || is[cell] == 0) continue;
      ++pairs;
      together += is[cell + 1];
    }
  }
  CHECK(together / pairs > 0.6);                               // of single tokens .3
  CHECK(*std::min_element(hidden.begin(), hidden.end()) > 5);  // corners least often
  CHECK(std::accumulate(hidden.begin(), hidden.end(), 0) == 500 * 59);
}

TEST_CASE("rectangles over a part of a grid hide tokens that are there") {
  const std::vector<std::int32_t> extent{8, 8};
  std::vector<std::int64_t> cells;
  for (std::int64_t cell = 0; cell < 64; ++cell)
    if (cell % 8 < 5) cells.push_back(cell);
  const auto mask = blockwise_mask(extent, cells, 20, {1, 2, 3});
  CHECK(mask.masked.size() == 20);
  CHECK(mask.visible.size() == 20);
  CHECK_THROWS_AS(blockwise_mask({8}, {0, 1, 2}, 1, {}), ValueError);
  CHECK_THROWS_AS(blockwise_mask({8, 8}, {0, 64}, 1, {}), ValueError);
  CHECK_THROWS_AS(blockwise_mask({8, 8}, {0, 1}, 2, {}), ValueError);
}

TEST_CASE("ratios are drawn from their range, and some samples are left whole") {
  MaskOptions options{Mode::kBlock, 0.1};
  options.ratio_high = 0.5;
  options.p_mask = 0.5;
  int whole = 0, low = 0, high = 0;
  const int n = 2000;
  for (int i = 0; i < n; ++i) {
    const Draw draw{7, 0, static_cast<std::uint64_t>(i)};
    const auto mask = view_mask(options, 196, draw, [&](const MaskOptions& how) { return grid_mask(how, {14, 14}, draw); });
    REQUIRE(mask);
    const double ratio = static_cast<double>(mask->masked.size()) / 196;
    CHECK(mask->masked.size() + mask->visible.size() == 196);
    if (mask->masked.empty()) {
      ++whole;
      continue;
    }
    CHECK(ratio >= 0.1);
    CHECK(ratio <= 0.51);
    low += ratio < 0.3;
    high += ratio >= 0.3;
  }
  CHECK(std::abs(whole - n / 2) < 100);
  CHECK(std::abs(low - high) < 150);
  CHECK_FALSE(view_mask(MaskOptions{}, 4, {}, [](const MaskOptions&) { return Mask{}; }));
}

TEST_CASE("options of masks that cannot be are refused") {
  const auto refused = [](double ratio, double high, double p, Mode mode, bool complementary, const char* name) {
    MaskOptions options{mode, ratio};
    options.ratio_high = high;
    options.p_mask = p;
    options.complementary = complementary;
    CHECK_THROWS_WITH(check(options, "here"), Catch::Contains("here") && Catch::Contains(name));
  };
  refused(0.5, 0.4, 1, Mode::kRandom, false, "ratio");
  refused(0.5, 1.0, 1, Mode::kRandom, false, "ratio");
  refused(0.5, 0.6, 1, Mode::kMultiblock, false, "ratio");
  refused(0.5, 0, -0.1, Mode::kRandom, false, "p_mask");
  refused(0.5, 0, 0.5, Mode::kRandom, true, "p_mask");
}
