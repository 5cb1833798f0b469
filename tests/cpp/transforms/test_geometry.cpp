#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "transforms/geometry.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

using Shape = std::vector<std::int64_t>;

std::int64_t cells_of(const Shape& shape) { return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()); }

// Every cell's row-major number.
std::vector<std::int32_t> numbered(const Shape& shape) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(cells_of(shape)));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

std::vector<std::int32_t> moved_cells(const Geometry& geometry, Interpolation how = Interpolation::kNearest) {
  const auto source = numbered(geometry.from);
  std::vector<std::int32_t> out(static_cast<std::size_t>(cells_of(geometry.to)), -2);
  resample(geometry, source.data(), 1, how, std::int32_t{-1}, out.data());
  return out;
}

// The place of cell `number` of a grid.
Shape place_in(const Shape& shape, std::int64_t number) {
  Shape at(shape.size());
  for (std::size_t a = shape.size(); a-- > 0; number /= shape[a]) at[a] = number % shape[a];
  return at;
}

std::int64_t number_in(const Shape& shape, const Shape& at) {
  std::int64_t number = 0;
  for (std::size_t a = 0; a < shape.size(); ++a) number = number * shape[a] + at[a];
  return number;
}

// Compares with index arithmetic: source(place in the result) is a place in the source.
template <class F>
void check_cells(const Geometry& geometry, F&& source) {
  const auto found = moved_cells(geometry);
  REQUIRE(geometry.is_exact());
  for (std::int64_t i = 0; i < cells_of(geometry.to); ++i)
    REQUIRE(found[static_cast<std::size_t>(i)] == number_in(geometry.from, source(place_in(geometry.to, i))));
}

const std::vector<Shape> kShapes{{7}, {5, 6}, {4, 5, 6}};

}  // namespace

TEST_CASE("crops are the cells that index arithmetic gives") {
  for (const auto& shape : kShapes) {
    const auto rank = shape.size();
    Shape first(rank), size(rank);
    for (std::size_t a = 0; a < rank; ++a) first[a] = static_cast<std::int64_t>(a) + 1, size[a] = 2 + static_cast<std::int64_t>(a % 2);
    auto geometry = Geometry::identity(shape);
    geometry.crop(first, size);
    CHECK(geometry.to == size);
    check_cells(geometry, [&](Shape at) {
      for (std::size_t a = 0; a < rank; ++a) at[a] += first[a];
      return at;
    });
  }
}

TEST_CASE("flips mirror one axis") {
  for (const auto& shape : kShapes)
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      auto geometry = Geometry::identity(shape);
      geometry.flip(axis);
      check_cells(geometry, [&](Shape at) {
        at[axis] = shape[axis] - 1 - at[axis];
        return at;
      });
      CHECK(moved_cells(geometry.flip(axis)) == numbered(shape));
    }
}

TEST_CASE("quarter turns are those of rot90, in any plane") {
  for (const auto& shape : kShapes)
    for (std::size_t a = 0; a < shape.size(); ++a)
      for (std::size_t b = 0; b < shape.size(); ++b) {
        if (a == b) continue;
        for (int quarters = -4; quarters <= 5; ++quarters) {
          auto geometry = Geometry::identity(shape);
          geometry.turn(a, b, quarters);
          const int k = ((quarters % 4) + 4) % 4;
          auto turned = shape;
          if (k % 2 == 1) std::swap(turned[a], turned[b]);
          REQUIRE(geometry.to == turned);
          // numpy: k=1 is a flip of b and then a swap of the axes; k=2 flips both; k=3 swaps and then flips b.
          check_cells(geometry, [&](Shape at) {
            const auto i = at[a], j = at[b];
            if (k == 1) at[a] = j, at[b] = shape[b] - 1 - i;
            if (k == 2) at[a] = shape[a] - 1 - i, at[b] = shape[b] - 1 - j;
            if (k == 3) at[a] = shape[a] - 1 - j, at[b] = i;
            return at;
          });
        }
      }
  // numpy.rot90([[0, 1, 2], [3, 4, 5]]).
  auto geometry = Geometry::identity({2, 3});
  CHECK(moved_cells(geometry.turn(0, 1, 1)) == std::vector<std::int32_t>{2, 5, 1, 4, 0, 3});
}

TEST_CASE("steps come one after the other, and channels come along") {
  auto geometry = Geometry::identity({4, 5});
  geometry.crop({1, 1}, {3, 4}).flip(1).turn(0, 1, 1).crop({1, 0}, {2, 3});
  // The crop holds 6 … 9, 11 … 14, 16 … 19; mirrored and turned its columns are the rows 6 11 16, 7 12 17, ….
  CHECK(moved_cells(geometry) == std::vector<std::int32_t>{7, 12, 17, 8, 13, 18});
  std::vector<float> two(40), out(12);
  for (std::size_t i = 0; i < 20; ++i) two[2 * i] = static_cast<float>(i), two[2 * i + 1] = -static_cast<float>(i);
  resample(geometry, two.data(), 2, Interpolation::kLinear, 0.f, out.data());
  CHECK(out == std::vector<float>{7, -7, 12, -12, 17, -17, 8, -8, 13, -13, 18, -18});
}

TEST_CASE("crops, flips and turns are exact, and nothing else is") {
  CHECK(Geometry::identity({3, 4}).is_exact());
  auto geometry = Geometry::identity({8, 4});
  CHECK(geometry.crop({1, 0}, {4, 4}).turn(0, 1, 3).flip(0).is_exact());
  CHECK_FALSE(Geometry(geometry).resize({8, 4}).is_exact());
  CHECK_FALSE(Geometry(geometry).affine({1, 0, 0, 1}, {0.5, 0}, {4, 4}).is_exact());
  CHECK_FALSE(Geometry(geometry).affine({1, 0.25, 0, 1}, {0, 0}, {4, 4}).is_exact());
  CHECK_FALSE(Geometry(geometry).affine({1, 1, 0, 1}, {0, 0}, {4, 4}).is_exact());
  CHECK(Geometry(geometry).affine({0, 1, 1, 0}, {2, -1}, {4, 4}).is_exact());
}

TEST_CASE("an inverse goes back to where a place came from") {
  Philox random({1, 0, 0}, Stream::kGrid, /*many=*/true);
  for (const auto& shape : kShapes) {
    const auto n = shape.size();
    auto geometry = Geometry::identity(shape);
    std::vector<double> matrix(n * n), offset(n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) matrix[i * n + j] = (i == (j + 1) % n ? 2 : 0) + 0.3 * random.uniform();  // the diagonal holds no pivot
      offset[i] = random.normal();
    }
    geometry.affine(matrix, offset, Shape(n, 9)).flip(0);
    const auto inverse = geometry.inverse();
    CHECK(inverse.from == geometry.to);
    CHECK(inverse.to == geometry.from);
    for (int i = 0; i < 20; ++i) {
      std::vector<double> place(n), there(n), back(n);
      for (auto& x : place) x = 9 * random.uniform();
      geometry.source_of(place.data(), there.data());
      inverse.source_of(there.data(), back.data());
      for (std::size_t a = 0; a < n; ++a) CHECK(back[a] == Approx(place[a]).margin(1e-9));
    }
  }
  auto turned = Geometry::identity({2, 3});
  turned.turn(0, 1, 1);
  CHECK(turned.inverse().is_exact());
  CHECK(moved_cells(Geometry::identity({2, 3}).turn(0, 1, 1).turn(0, 1, -1)) == numbered({2, 3}));
}

namespace {

// A field that is linear over space, at the middles of cells.
double field(const double* at, std::size_t rank) {
  double value = 3;
  for (std::size_t a = 0; a < rank; ++a) value += (1.5 + static_cast<double>(a)) * at[a];
  return value;
}

void check_linear(const Geometry& geometry, double inside_from, double inside_to) {
  const auto n = geometry.rank();
  std::vector<float> source, out(static_cast<std::size_t>(cells_of(geometry.to)));
  std::vector<double> middle(n), there(n);
  for (std::int64_t i = 0; i < cells_of(geometry.from); ++i) {
    const auto at = place_in(geometry.from, i);
    for (std::size_t a = 0; a < n; ++a) middle[a] = static_cast<double>(at[a]) + 0.5;
    source.push_back(static_cast<float>(field(middle.data(), n)));
  }
  resample(geometry, source.data(), 1, Interpolation::kLinear, -99.f, out.data());
  int compared = 0, outside = 0;
  for (std::int64_t i = 0; i < cells_of(geometry.to); ++i) {
    const auto at = place_in(geometry.to, i);
    bool within = true, beyond = false;
    for (std::size_t a = 0; a < n; ++a) middle[a] = static_cast<double>(at[a]) + 0.5;
    geometry.source_of(middle.data(), there.data());
    for (std::size_t a = 0; a < n; ++a) {
      const auto extent = static_cast<double>(geometry.from[a]);
      within = within && there[a] >= inside_from && there[a] <= extent - inside_to;
      beyond = beyond || there[a] < 0 || there[a] >= extent;
    }
    if (within) REQUIRE(out[static_cast<std::size_t>(i)] == Approx(field(there.data(), n)).margin(1e-4));
    REQUIRE((out[static_cast<std::size_t>(i)] == -99) == beyond);
    compared += within ? 1 : 0;
    outside += beyond ? 1 : 0;
  }
  CHECK(compared > 0);
  CHECK(outside < cells_of(geometry.to));
}

}  // namespace

TEST_CASE("a linear field stays the same field when it is resized, turned or sheared") {
  for (const auto& shape : kShapes) {
    const auto n = shape.size();
    auto larger = shape, smaller = shape;
    for (std::size_t a = 0; a < n; ++a) larger[a] = 2 * shape[a] + static_cast<std::int64_t>(a), smaller[a] = shape[a] - 2;
    check_linear(Geometry::identity(shape).resize(larger), 0.5, 0.5);
    check_linear(Geometry::identity(shape).resize(smaller), 0.5, 0.5);
    std::vector<double> matrix(n * n, 0.1), offset(n, -0.7);
    for (std::size_t a = 0; a < n; ++a) matrix[a * n + a] = 0.8;
    check_linear(Geometry::identity(shape).affine(matrix, offset, larger), 0.5, 0.5);
  }
}

TEST_CASE("beyond the middles of the edge's cells their values go on") {
  const std::vector<float> source{10, 20};
  std::vector<float> out(8);
  resample(Geometry::identity({2}).resize({8}), source.data(), 1, Interpolation::kLinear, 0.f, out.data());
  const std::vector<float> expected{10, 10, 11.25f, 13.75f, 16.25f, 18.75f, 20, 20};
  for (std::size_t i = 0; i < 8; ++i) CHECK(out[i] == Approx(expected[i]));
  const std::vector<float> one{5};
  out.resize(3);
  resample(Geometry::identity({1}).resize({3}), one.data(), 1, Interpolation::kLinear, 0.f, out.data());
  CHECK(out == std::vector<float>{5, 5, 5});
}

TEST_CASE("classes are the nearest cell's, and bytes are rounded") {
  CHECK(moved_cells(Geometry::identity({3}).resize({6})) == std::vector<std::int32_t>{0, 0, 1, 1, 2, 2});
  CHECK(moved_cells(Geometry::identity({6}).resize({3})) == std::vector<std::int32_t>{1, 3, 5});
  CHECK(moved_cells(Geometry::identity({4}).affine({1}, {-1.25}, {6})) == std::vector<std::int32_t>{-1, 0, 1, 2, 3, -1});
  const std::vector<std::uint8_t> bytes{0, 255};
  std::vector<std::uint8_t> out(8);
  resample(Geometry::identity({2}).resize({8}), bytes.data(), 1, Interpolation::kLinear, std::uint8_t{7}, out.data());
  CHECK(out == std::vector<std::uint8_t>{0, 0, 32, 96, 159, 223, 255, 255});
  CHECK(moved_cells(Geometry::identity({2}).resize({8}), Interpolation::kLinear) == std::vector<std::int32_t>{0, 0, 0, 0, 1, 1, 1, 1});
}

TEST_CASE("a geometry that cannot be is refused, each with its reason") {
  using Catch::Contains;
  const auto square = Geometry::identity({4, 4});
  CHECK_THROWS_WITH(Geometry::identity({4, 0}), Contains("identity: shape must be positive, got 0"));
  CHECK_THROWS_WITH(Geometry(square).crop({0}, {2, 2}), Contains("crop: shape has 1 axes, expected the rank 2"));
  CHECK_THROWS_WITH(Geometry(square).crop({0, 0}, {2}), Contains("crop: shape has 1 axes, expected the rank 2"));
  CHECK_THROWS_WITH(Geometry(square).crop({0, 0}, {2, 0}), Contains("crop: shape must be positive"));
  CHECK_THROWS_WITH(Geometry(square).crop({0, 3}, {2, 2}), Contains("crop: cells 3 to 5 of axis 1 are not within its 4"));
  CHECK_THROWS_WITH(Geometry(square).crop({-1, 0}, {2, 2}), Contains("crop: cells -1 to 1 of axis 0"));
  CHECK_THROWS_WITH(Geometry(square).flip(2), Contains("flip: axis=2 must be below the rank 2"));
  CHECK_THROWS_WITH(Geometry(square).turn(0, 2, 1), Contains("turn: axis=2 must be below the rank 2"));
  CHECK_THROWS_WITH(Geometry(square).turn(3, 1, 1), Contains("turn: axis=3"));
  CHECK_THROWS_WITH(Geometry(square).turn(1, 1, 1), Contains("turn: the axes of a plane must differ, got 1 twice"));
  CHECK_THROWS_WITH(Geometry(square).resize({4}), Contains("resize: shape has 1 axes"));
  CHECK_THROWS_WITH(Geometry(square).resize({4, -1}), Contains("resize: shape must be positive, got -1"));
  CHECK_THROWS_WITH(Geometry(square).affine({1, 0, 0}, {0, 0}, {4, 4}), Contains("affine: matrix and offset have 3 and 2 numbers, expected 4 and 2"));
  CHECK_THROWS_WITH(Geometry(square).affine({1, 0, 0, 1}, {0}, {4, 4}), Contains("affine: matrix and offset have 4 and 1 numbers"));
  CHECK_THROWS_WITH(Geometry(square).affine({1, 0, 0, 1}, {0, 0}, {4}), Contains("affine: shape has 1 axes"));
  CHECK_THROWS_WITH(Geometry(square).affine({1, 2, 2, 4}, {0, 0}, {4, 4}).inverse(), Contains("inverse: the matrix of this geometry is singular"));
  CHECK_THROWS_AS(Geometry(square).flip(2), ValueError);
}
