#include <catch2/catch.hpp>
#include <vector>

#include "core/error.h"
#include "transforms/volume_reference.h"

using namespace sslmed;
using namespace sslmed::transforms;
using reference::compare;
using reference::Place;

namespace {

const VolumeShape kCells{9, 11, 13};
const VolumeSpacing kMm{1.5, 1, 0.8};

// result = scale · (turn · (source - center) + translation) + center in mm, undone for a place of the result in cells.
Place undone(const Place& at, const VolumeShape& shape, const VolumeSpacing& mm, const Place& scales, const Place& degrees, const Place& translation) {
  Place p;
  for (std::size_t a = 0; a < 3; ++a) p[a] = (at[a] - static_cast<double>(shape[a]) / 2) * mm[a] / scales[a] - translation[a];
  const auto turn_back = [&](std::size_t axis) {
    const double angle = -degrees[axis] * 3.14159265358979323846 / 180;
    const std::size_t a = (axis + 1) % 3, b = (axis + 2) % 3;
    const double first = std::cos(angle) * p[a] - std::sin(angle) * p[b], second = std::sin(angle) * p[a] + std::cos(angle) * p[b];
    p[a] = first;
    p[b] = second;
  };
  turn_back(2);
  turn_back(0);
  turn_back(1);
  for (std::size_t a = 0; a < 3; ++a) p[a] = p[a] / mm[a] + static_cast<double>(shape[a]) / 2;
  return p;
}

Place plus(const Place& a, const Place& b) { return {a[0] + b[0], a[1] + b[1], a[2] + b[2]}; }

void check_close(const reference::Errors& found) {
  CHECK(found.linear < 2e-5);
  CHECK(found.nearest == 0);
  CHECK(found.label == 0);
}

const Place kScales{1.1, 0.9, 1.2}, kDegrees{10, -7, 25}, kMove{1.2, -0.6, 2};

}  // namespace

TEST_CASE("flips and windows copy cells") {
  auto map = VolumeMap::identity(kCells, kMm);
  check_close(compare(map, [](const Place& at) { return at; }));
  map.flip(0).flip(2).window({-2, 3, 4}, {8, 5, 12});
  check_close(compare(map, [](const Place& at) { return Place{9 - (at[0] - 2), at[1] + 3, 13 - (at[2] + 4)}; }));
  map = VolumeMap::identity(kCells, kMm).window({-20, 3, -40}, {8, 5, 12});  // nothing of the volume is left
  check_close(compare(map, [](const Place& at) { return Place{at[0] - 20, at[1] + 3, at[2] - 40}; }));
}

TEST_CASE("an odd number of cells is cut and added as TorchIO does") {
  const auto map = VolumeMap::identity(kCells, kMm).crop_or_pad({6, 14, 13});
  check_close(compare(map, [](const Place& at) { return Place{at[0] + 2, at[1] - 2, at[2]}; }));
}

TEST_CASE("a grid of another spacing keeps the center") {
  const auto map = VolumeMap::identity(kCells, kMm).resample({1, 1.7, 0.8});
  CHECK(map.to == VolumeShape{13, 6, 13});
  check_close(compare(map, [](const Place& at) { return Place{(at[0] + 0.25) / 1.5, at[1] * 1.7 + 0.4, at[2]}; }));
}

TEST_CASE("affine changes follow their definition") {
  const auto map = VolumeMap::identity(kCells, kMm).affine(kScales, kDegrees, kMove);
  check_close(compare(map, [](const Place& at) { return undone(at, kCells, kMm, kScales, kDegrees, kMove); }));
}

TEST_CASE("elastic displacements follow the spline's definition, in any place among other steps") {
  Philox random({3, 0, 0}, Stream::kGrid);
  const auto field = reference::random_field({5, 6, 7}, 2, random), other = reference::random_field({4, 4, 4}, 1, random);
  const auto displaced = [&](const ElasticField& by, const VolumeShape& shape, const Place& at) {
    return plus(at, reference::displacement(by, shape, kMm, at));
  };
  auto map = VolumeMap::identity(kCells, kMm).elastic(field);
  SECTION("alone") {
    check_close(compare(map, [&](const Place& at) { return displaced(field, kCells, at); }));
  }
  SECTION("between a window and an affine change") {
    map = VolumeMap::identity(kCells, kMm).affine(kScales, kDegrees, kMove).elastic(field).flip(1).window({-3, 2, 1}, {11, 8, 12});
    check_close(compare(map, [&](const Place& at) {
      return undone(displaced(field, kCells, {at[0] - 3, 11 - (at[1] + 2), at[2] + 1}), kCells, kMm, kScales, kDegrees, kMove);
    }));
  }
  SECTION("before an affine change, and twice") {
    map.affine(kScales, kDegrees, kMove).window({1, 1, 1}, {7, 9, 11}).elastic(other);
    check_close(compare(map, [&](const Place& at) {
      const Place moved = plus(displaced(other, {7, 9, 11}, at), {1, 1, 1});
      return displaced(field, kCells, undone(moved, kCells, kMm, kScales, kDegrees, kMove));
    }));
  }
}

TEST_CASE("volumes of one cell along an axis are warped") {
  for (const VolumeShape& shape : {VolumeShape{1, 6, 7}, VolumeShape{6, 1, 7}, VolumeShape{6, 7, 1}, VolumeShape{1, 1, 1}, VolumeShape{2, 2, 2}}) {
    const auto map = VolumeMap::identity(shape, kMm).affine(kScales, {0, 0, 25}, {0.1, 0.2, 0.1});
    check_close(compare(map, [&](const Place& at) { return undone(at, shape, kMm, kScales, {0, 0, 25}, {0.1, 0.2, 0.1}); }));
  }
}

TEST_CASE("maps done one after the other are one map") {
  Philox random({4, 0, 0}, Stream::kGrid);
  const auto first = VolumeMap::identity(kCells, kMm).affine(kScales, kDegrees, kMove).window({0, 1, 2}, {9, 9, 9});
  auto second = VolumeMap::identity({9, 9, 9}, kMm).elastic(reference::random_field({5, 5, 5}, 2, random)).flip(2).resample({1, 1, 1});
  const auto both = VolumeMap(first).then(second);
  CHECK(both.steps.size() == 3);  // flip and resampling; displacement; affine and window
  double points[6] = {3, 4, 5, 6.5, 2.5, 7}, apart[6];
  std::copy_n(points, 6, apart);
  both.move_points(points, 2, true);
  second.move_points(apart, 2, true);
  first.move_points(apart, 2, true);
  for (int i = 0; i < 6; ++i) CHECK(points[i] == Approx(apart[i]).margin(1e-9));
  CHECK_THROWS_WITH(VolumeMap(first).then(first), Catch::Contains("shape[1]=11 must be the 9 cells"));
  CHECK_THROWS_WITH(VolumeMap(second).then(VolumeMap::identity(second.to, kMm)), Catch::Contains("spacing[0]=1.5 mm must be the 1"));
}

TEST_CASE("planes of several threads are the whole, to the bit") {
  Philox random({5, 0, 0}, Stream::kGrid);
  const auto values = reference::noise(kCells, 3);
  const auto identity = VolumeMap::identity(kCells, kMm);
  for (const auto& map : {VolumeMap(identity).elastic(reference::random_field({5, 5, 5}, 1, random)).inverse(), VolumeMap(identity).resample({1, 1, 1}),
                          VolumeMap(identity).flip(0)}) {
    const VolumeWarp warp(map);
    std::vector<float> whole(reference::cells_of(map.to)), parts(whole.size());
    warp.apply(values.data(), VolumeInterpolation::kLinear, 0.0F, whole.data());
    warp.planes(values.data(), VolumeInterpolation::kLinear, 0.0F, 4, map.to[0], parts.data());
    warp.planes(values.data(), VolumeInterpolation::kLinear, 0.0F, 0, 4, parts.data());
    CHECK(parts == whole);
  }
}

TEST_CASE("equal weights go to the smaller label") {
  const std::vector<std::uint8_t> labels{7, 2};
  std::vector<std::uint8_t> out(2);
  const auto map = VolumeMap::identity({1, 1, 2}, {1, 1, 1}).affine({1, 1, 1}, {0, 0, 0}, {0, 0, 0.5});
  VolumeWarp(map).apply(labels.data(), VolumeInterpolation::kLabel, std::uint8_t{9}, out.data());
  CHECK(out == std::vector<std::uint8_t>{7, 2});
}

TEST_CASE("points go forth and back, through displacements too") {
  Philox random({6, 0, 0}, Stream::kGrid);
  const VolumeShape shape{40, 50, 60};
  const auto map =
      VolumeMap::identity(shape, kMm).affine(kScales, kDegrees, kMove).elastic(reference::random_field({7, 7, 7}, 2, random)).flip(0).crop_or_pad({30, 60, 50});
  std::vector<double> points, moved;
  for (int i = 0; i < 600; ++i) points.push_back(80 * random.uniform() - 15);  // some are outside
  moved = points;
  map.move_points(moved.data(), 200, false);
  auto back = moved;
  map.move_points(back.data(), 200, true);
  auto by_inverse = moved;
  map.inverse().move_points(by_inverse.data(), 200, false);
  double apart = 0, furthest = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    apart = std::max({apart, std::abs(back[i] - points[i]), std::abs(by_inverse[i] - points[i])});
    furthest = std::max(furthest, std::abs(moved[i] - points[i]));
  }
  CHECK(apart < 1e-3);
  CHECK(furthest > 5);
}

TEST_CASE("displacements that fold space are refused where they are undone") {
  Philox random({7, 0, 0}, Stream::kGrid);
  const auto map = VolumeMap::identity(kCells, kMm).elastic(reference::random_field({7, 7, 7}, 20, random)).inverse();
  const auto values = reference::noise(kCells, 3);
  std::vector<float> out(values.size());
  CHECK_THROWS_WITH(VolumeWarp(map).apply(values.data(), VolumeInterpolation::kLinear, 0.0F, out.data()), Catch::Contains("folds space"));
  std::vector<double> line;
  for (int i = 0; i < 130; ++i) line.insert(line.end(), {4.0, 5.0, i / 10.0});
  CHECK_THROWS_WITH(map.move_points(line.data(), 130, true), Catch::Contains("folds space"));
}

TEST_CASE("maps refuse what makes no sense") {
  auto map = VolumeMap::identity(kCells, kMm);
  CHECK_THROWS_WITH(VolumeMap::identity({0, 2, 3}, kMm), "volume: shape[0]=0 must be 1 to 2^24 - 1 cells");
  CHECK_THROWS_WITH(VolumeMap::identity({3, 2, 3}, {1, -1, 1}), "volume: spacing[1]=-1 mm must be positive and finite");
  CHECK_THROWS_WITH(VolumeMap::identity({2000, 2000, 2000}, kMm), Catch::Contains("must be below 2^31"));
  CHECK_THROWS_WITH(map.affine({1, 0, 1}, {0, 0, 0}, {0, 0, 0}), "affine: scales[1]=0 must be positive and finite");
  CHECK_THROWS_WITH(map.elastic({{3, 7, 7}, {}}), "elastic: control_points[0]=3 must be 4 to 1024");
  CHECK_THROWS_WITH(map.elastic({{4, 4, 4}, {1, 2}}), "elastic: displacement=2 numbers, expected 192, three for each control point");
  CHECK_THROWS_AS(map.flip(3), ValueError);
  std::vector<std::int32_t> labels(reference::cells_of(kCells)), out(labels.size());
  CHECK_THROWS_WITH(VolumeWarp(map).apply(labels.data(), VolumeInterpolation::kLinear, 0, out.data()), Catch::Contains("interpolation='linear' needs float32"));
}
