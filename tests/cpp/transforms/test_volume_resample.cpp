#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "transforms/volume_resample.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

using Cells = std::array<std::int64_t, 3>;
using Spacing = std::array<double, 3>;

std::size_t count(const Cells& shape) { return static_cast<std::size_t>(shape[0] * shape[1] * shape[2]); }

std::vector<float> noise_volume(const Cells& shape, std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kGrid, /*many=*/true);
  std::vector<float> out(count(shape));
  for (auto& value : out) value = static_cast<float>(random.uniform() - 0.5);
  return out;
}

// The weight of each source cell, edges repeated, straight from the definition.
std::vector<double> weights_of(const ResampleGrid& grid, std::size_t axis, std::int64_t i, bool antialias) {
  const double p = (grid.offset[axis] + (static_cast<double>(i) + 0.5) * grid.to_spacing[axis]) / grid.from_spacing[axis] - 0.5;
  const double wide = antialias ? std::max(1.0, grid.to_spacing[axis] / grid.from_spacing[axis]) : 1.0;
  std::vector<double> out(static_cast<std::size_t>(grid.from[axis]), 0.0);
  double sum = 0;
  for (auto k = static_cast<std::int64_t>(p - wide) - 2; k <= static_cast<std::int64_t>(p + wide) + 2; ++k) {
    const double weight = std::max(0.0, 1 - std::abs(static_cast<double>(k) - p) / wide);
    out[static_cast<std::size_t>(std::clamp<std::int64_t>(k, 0, grid.from[axis] - 1))] += weight;
    sum += weight;
  }
  for (auto& weight : out) weight /= sum;
  return out;
}

double worst(const ResampleGrid& grid, bool antialias, std::uint64_t seed) {
  const auto source = noise_volume(grid.from, seed);
  std::vector<float> found(count(grid.to));
  resample_linear(grid, source.data(), antialias, found.data());
  double out = 0;
  std::size_t at = 0;
  for (std::int64_t i = 0; i < grid.to[0]; ++i)
    for (std::int64_t j = 0; j < grid.to[1]; ++j)
      for (std::int64_t k = 0; k < grid.to[2]; ++k) {
        const auto x = weights_of(grid, 0, i, antialias), y = weights_of(grid, 1, j, antialias), z = weights_of(grid, 2, k, antialias);
        double expected = 0;
        std::size_t cell = 0;
        for (const auto a : x)
          for (const auto b : y)
            for (const auto c : z) expected += a * b * c * static_cast<double>(source[cell++]);
        out = std::max(out, std::abs(expected - static_cast<double>(found[at++])));
      }
  return out;
}

}  // namespace

TEST_CASE("a volume's grid of another spacing keeps the center") {
  const auto grid = resample_grid({10, 7, 1}, {1.5, 2, 8}, {2, 1, 3});
  CHECK(grid.to == Cells{7, 14, 1});
  CHECK(grid.offset == Spacing{0.5, 0, 2.5});
  CHECK(resample_grid({10, 7, 1}, {1.5, 2, 8}, {1.5, 2, 8}).offset == Spacing{0, 0, 0});
}

TEST_CASE("linear resampling of volumes weighs cells as the definition says") {
  const bool antialias = GENERATE(false, true);
  const Spacing spacing{1.0, 1.3, 0.7};
  for (const Spacing& to : {Spacing{2.3, 0.6, 0.7}, Spacing{1.0, 3.1, 2.9}, Spacing{0.4, 1.3, 1.9}, Spacing{1.0, 1.3, 0.7}, Spacing{1, 1.3, 1.4}})
    CHECK(worst(resample_grid({9, 8, 11}, spacing, to), antialias, 3) < 1e-6);
  // A result that reaches beyond the source on both sides, and a single cell.
  CHECK(worst({{4, 5, 3}, {9, 6, 8}, {1, 1, 2}, {1, 2.5, 1.1}, {-2.5, -4, 0.3}}, antialias, 4) < 1e-6);
  CHECK(worst({{1, 5, 1}, {3, 6, 4}, {1, 1, 2}, {1, 2.5, 1.1}, {-2.5, -4, 0.3}}, antialias, 5) < 1e-6);
}

TEST_CASE("the same grid gives the same volume") {
  const auto source = noise_volume({4, 5, 6}, 1);
  std::vector<float> linear(source.size()), nearest(source.size());
  const auto grid = resample_grid({4, 5, 6}, {1, 2, 3}, {1, 2, 3});
  resample_linear(grid, source.data(), true, linear.data());
  resample_nearest(grid, source.data(), nearest.data());
  CHECK(linear == source);
  CHECK(nearest == source);
}

TEST_CASE("antialiased shrinking averages what alternates") {
  const Cells shape{16, 1, 1};
  std::vector<float> source(16), into(4);
  for (std::size_t i = 0; i < 16; ++i) source[i] = 3.0F + static_cast<float>(i % 2);
  const auto grid = resample_grid(shape, {1, 1, 1}, {4, 1, 1});
  resample_linear(grid, source.data(), true, into.data());
  for (const std::size_t i : {1U, 2U}) CHECK(into[i] == Approx(3.5F));  // the outer ones see repeated edges
}

TEST_CASE("nearest resampling of label maps takes the cell in which a middle lies") {
  std::vector<std::int32_t> source(60);
  std::iota(source.begin(), source.end(), 0);
  const ResampleGrid grid{{3, 4, 5}, {4, 5, 7}, {1, 1.5, 2}, {0.9, 1.3, 1.7}, {-0.3, -0.2, -0.8}};
  std::vector<std::int32_t> into(count(grid.to));
  resample_nearest(grid, source.data(), into.data());
  std::size_t at = 0;
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t j = 0; j < 5; ++j)
      for (std::int64_t k = 0; k < 7; ++k) {
        std::array<std::int64_t, 3> cell{i, j, k};
        for (std::size_t a = 0; a < 3; ++a) {
          const double p = (grid.offset[a] + (static_cast<double>(cell[a]) + 0.5) * grid.to_spacing[a]) / grid.from_spacing[a];
          cell[a] = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(p)), 0, grid.from[a] - 1);
        }
        CHECK(into[at++] == (cell[0] * 4 + cell[1]) * 5 + cell[2]);
      }
}

TEST_CASE("resampling refuses grids that make no sense") {
  CHECK_THROWS_WITH(resample_grid({3, 4, 5}, {1, 1, 1}, {1, 0, 1}), "resample: spacing[1]=0 mm must be positive and finite");
  CHECK_THROWS_WITH(resample_grid({3, 4, 5}, {1, 1, 1}, {4, 1, 1}), Catch::Contains("spacing[0]=4 mm must be at most the volume's 3"));
  CHECK_THROWS_AS(resample_grid({3, 0, 5}, {1, 1, 1}, {1, 1, 1}), ValueError);
}

TEST_CASE("rounding costs no cell of a new grid") {
  CHECK(resample_grid({26, 26, 26}, {1.7, static_cast<double>(0.9F), 1.7}, {1.7, 0.9, 0.85}).to == Cells{26, 26, 52});
}
