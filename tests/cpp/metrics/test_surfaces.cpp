#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.h"
#include "metrics/components.h"
#include "metrics/distance_transform.h"
#include "metrics/nearest.h"
#include "metrics/surface.h"

using namespace sslmed;
using namespace sslmed::metrics;

namespace {

struct Case {
  std::vector<std::uint8_t> values;
  metrics::LabelMap map;
};

Case random_mask(const Shape& shape, int rank, double share, std::uint64_t seed) {
  Case made;
  Philox random({seed, 0, 0}, Stream::kWindow, true);
  made.values.resize(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
  for (auto& value : made.values) value = random.uniform() < share;
  made.map.narrow = made.values.data();
  made.map.shape = shape;
  made.map.rank = rank;
  return made;
}

bool inside(const Case& mask, std::int64_t x, std::int64_t y, std::int64_t z) {
  const auto& n = mask.map.shape;
  if (x < 0 || y < 0 || z < 0 || x >= n[0] || y >= n[1] || z >= n[2]) return false;
  return mask.values[static_cast<std::size_t>((x * n[1] + y) * n[2] + z)] != 0;
}

double brute(const Surface& from, std::size_t i, const Surface& to, const Spacing& mm) {
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < to.size(); ++j) {
    const double x = (from.x[i] - to.x[j]) * mm[0], y = (from.y[i] - to.y[j]) * mm[1], z = (from.z[i] - to.z[j]) * mm[2];
    best = std::min(best, std::sqrt(x * x + y * y + z * z));
  }
  return best;
}

const Spacing kMm{1.5, 0.7, 2.25};

}  // namespace

TEST_CASE("cells of the surface have a neighbor outside", "[metrics]") {
  const auto mask = random_mask({5, 9, 40}, 3, 0.7, 1);
  const auto found = surface_of(crop(mask.map, {}), SurfaceKind::kCells, kMm);
  std::size_t expected = 0;
  for (std::int64_t x = 0; x < 5; ++x)
    for (std::int64_t y = 0; y < 9; ++y)
      for (std::int64_t z = 0; z < 40; ++z) {
        const bool all = inside(mask, x - 1, y, z) && inside(mask, x + 1, y, z) && inside(mask, x, y - 1, z) && inside(mask, x, y + 1, z) &&
                         inside(mask, x, y, z - 1) && inside(mask, x, y, z + 1);
        if (!inside(mask, x, y, z) || all) continue;
        REQUIRE(expected < found.size());
        CHECK(found.x[expected] == x);
        CHECK(found.y[expected] == y);
        CHECK(found.z[expected] == z);
        ++expected;
      }
  CHECK(found.size() == expected);
}

TEST_CASE("distances are those of all pairs", "[metrics]") {
  const int rank = GENERATE(2, 3);
  const auto kind = GENERATE(SurfaceKind::kCells, SurfaceKind::kCorners);
  const double share = GENERATE(0.01, 0.3, 0.95);
  const Shape shape = rank == 3 ? Shape{12, 17, 23} : Shape{1, 31, 45};
  const auto one = random_mask(shape, rank, share, 2), two = random_mask(shape, rank, share, 3);
  const auto a = surface_of(crop(one.map, {}), kind, kMm), b = surface_of(crop(two.map, {}), kind, kMm);
  std::vector<double> far(a.size()), both(a.size());
  const SurfaceTree from(a, kMm), to(b, kMm);
  to.distances(from, far.data(), 2);
  nearest_distances(a, b, kMm, both.data(), 2);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double expected = brute(a, i, b, kMm);
    CHECK(far[i] == Approx(expected).epsilon(1e-12));
    CHECK(both[i] == Approx(expected).epsilon(1e-12));
  }
  CHECK(a.area.size() == (kind == SurfaceKind::kCorners ? a.size() : 0));
}

TEST_CASE("places that are far are found by the tree or one by one, wherever the other surface lies", "[metrics]") {
  const std::int32_t count = GENERATE(5, 900), gap = GENERATE(3, 31, 32, 33, 90, 4000);
  const int axis = GENERATE(0, 1, 2);
  Surface a, b;
  Philox random({9, 0, 0}, Stream::kWindow, true);
  for (std::int32_t i = 0; i < count; ++i) {
    for (auto* surface : {&a, &b}) {
      std::array<std::int32_t, 3> at{};
      for (auto& place : at) place = static_cast<std::int32_t>(random.uniform() * 20) - 5;
      if (surface == &b) at[static_cast<std::size_t>(axis)] += i % 2 == 0 ? gap : -gap;
      surface->x.push_back(at[0]);
      surface->y.push_back(at[1]);
      surface->z.push_back(at[2]);
    }
  }
  std::vector<double> far(a.size());
  nearest_distances(a, b, kMm, far.data(), 1);
  for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(far[i] == Approx(brute(a, i, b, kMm)).epsilon(1e-12));
}

TEST_CASE("nothing is infinitely far from something", "[metrics]") {
  const auto one = random_mask({4, 5, 6}, 3, 0.5, 4), none = random_mask({4, 5, 6}, 3, 0.0, 5);
  CHECK(crop(none.map, {}).empty());
  CHECK(bounding_box(none.map, {}).empty());
  const auto a = surface_of(crop(one.map, {}), SurfaceKind::kCells, kMm), b = surface_of(crop(none.map, {}), SurfaceKind::kCells, kMm);
  CHECK(b.size() == 0);
  std::vector<double> far(a.size());
  const SurfaceTree from(a, kMm), to(b, kMm);
  to.distances(from, far.data(), 1);
  for (const double each : far) CHECK(std::isinf(each));
  from.distances(to, nullptr, 1);
  nearest_distances(b, a, kMm, nullptr, 1);
  nearest_distances(a, b, kMm, far.data(), 1);
  for (const double each : far) CHECK(std::isinf(each));
  CHECK(euler_characteristic(crop(none.map, {}), true) == 0);
}

TEST_CASE("areas are the same inside out, and those of a flat surface are those of its cells", "[metrics]") {
  const auto areas = surface_areas(kMm, 3);
  REQUIRE(areas.size() == 256);
  for (std::size_t code = 0; code < 256; ++code) CHECK(areas[code] == areas[255 - code]);
  CHECK(areas[0b00001111] == Approx(kMm[1] * kMm[2]));
  CHECK(areas[0b00110011] == Approx(kMm[0] * kMm[2]));
  CHECK(areas[0b01010101] == Approx(kMm[0] * kMm[1]));
  CHECK(areas[0] == 0);
  const auto lengths = surface_areas(kMm, 2);
  REQUIRE(lengths.size() == 16);
  CHECK(lengths[0b0011] == Approx(kMm[2]));
  CHECK(lengths[0b0101] == Approx(kMm[1]));
}

TEST_CASE("the Euler characteristic of a solid box is 1, and a hole changes it", "[metrics]") {
  auto box = random_mask({7, 8, 9}, 3, 1.1, 6);
  for (const bool full : {true, false}) CHECK(euler_characteristic(crop(box.map, {}), full) == 1);
  box.values[static_cast<std::size_t>((3 * 8 + 4) * 9 + 4)] = 0;
  for (const bool full : {true, false}) CHECK(euler_characteristic(crop(box.map, {}), full) == 2);
  auto flat = random_mask({1, 8, 9}, 2, 1.1, 7);
  for (const bool full : {true, false}) CHECK(euler_characteristic(crop(flat.map, {}), full) == 1);
  flat.values[static_cast<std::size_t>(4 * 9 + 4)] = 0;
  for (const bool full : {true, false}) CHECK(euler_characteristic(crop(flat.map, {}), full) == 0);
}

TEST_CASE("the distance transform is that of all pairs, by any number of threads", "[metrics]") {
  const unsigned threads = GENERATE(1u, 3u);
  const double share = GENERATE(0.5, 0.97);
  const auto mask = random_mask({9, 14, 21}, 3, share, 8);
  std::vector<double> out(mask.values.size());
  distance_transform(mask.map, kMm, out.data(), threads);
  for (std::int64_t i = 0; i < mask.map.cells(); i += 7) {
    double best = std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < mask.map.cells(); ++j) {
      if (mask.values[static_cast<std::size_t>(j)]) continue;
      const double x = static_cast<double>(i / 294 - j / 294) * kMm[0], y = static_cast<double>(i / 21 % 14 - j / 21 % 14) * kMm[1],
                   z = static_cast<double>(i % 21 - j % 21) * kMm[2];
      best = std::min(best, std::sqrt(x * x + y * y + z * z));
    }
    CHECK(out[static_cast<std::size_t>(i)] == Approx(best));
  }
}

TEST_CASE("components are numbered by their first cells", "[metrics]") {
  // A U whose arms meet in the last row, and a cell that touches it at a corner.
  std::vector<std::uint8_t> values = {1, 0, 1, 0,  //
                                      1, 0, 1, 0,  //
                                      1, 1, 1, 0,  //
                                      0, 0, 0, 1};
  metrics::LabelMap map{values.data(), nullptr, {1, 4, 4}, 2};
  std::vector<std::int32_t> out(16);
  CHECK(connected_components(map, 1, out.data()) == 2);
  CHECK(out == std::vector<std::int32_t>{1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 2});
  CHECK(connected_components(map, 2, out.data()) == 1);
}
