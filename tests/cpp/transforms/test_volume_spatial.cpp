#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "transforms/volume_reference.h"
#include "transforms/volume_spatial.h"

using namespace sslmed;
using namespace sslmed::transforms;
using reference::cells_of;

namespace {

VolumeSpatialOptions always() {
  VolumeSpatialOptions out;
  out.p_flip = {0.5, 0.5, 0.5};
  out.p_affine = out.p_elastic = out.p_anisotropy = 1;
  return out;
}

VolumeSpatialPlan drawn(const VolumeShape& shape, const VolumeSpacing& mm, const VolumeSpatialOptions& options, std::uint64_t number) {
  Philox random({11, 0, number}, Stream::kAugment, /*many=*/true);
  return plan_spatial(shape, mm, options, random);
}

// Balls of labels 1 to 4.
std::vector<std::int32_t> balls(const VolumeShape& shape) {
  std::vector<std::int32_t> out(cells_of(shape), 0);
  std::size_t cell = 0;
  for (std::int64_t i = 0; i < shape[0]; ++i)
    for (std::int64_t j = 0; j < shape[1]; ++j)
      for (std::int64_t k = 0; k < shape[2]; ++k, ++cell)
        for (int ball = 0; ball < 4; ++ball) {
          const double x = static_cast<double>(i) + 0.5 - static_cast<double>(shape[0]) * (ball & 1 ? 0.62 : 0.38);
          const double y = static_cast<double>(j) + 0.5 - static_cast<double>(shape[1]) * (ball & 2 ? 0.62 : 0.38);
          const double z = static_cast<double>(k) + 0.5 - static_cast<double>(shape[2]) * 0.5;
          if (x * x + y * y + z * z < 121) out[cell] = ball + 1;
        }
  return out;
}

double worst_dice(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  double worst = 1;
  for (std::int32_t label = 1; label <= 4; ++label) {
    double both = 0, sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      both += a[i] == label && b[i] == label;
      sum += (a[i] == label) + (b[i] == label);
    }
    worst = std::min(worst, 2 * both / sum);
  }
  return worst;
}

}  // namespace

TEST_CASE("plans are drawn within their options, each kind as often as it says") {
  const VolumeShape shape{30, 20, 40};
  VolumeSpatialOptions options;
  options.p_flip = {0.5, 0, 1};
  options.p_affine = 0.7;
  options.translation = 3;
  options.p_elastic = 0.4;
  options.p_anisotropy = 0.3;
  options.window = {20, 0, 50};
  int flips = 0, affine = 0, elastic = 0, anisotropy = 0;
  std::int64_t low = 100, high = -100;
  constexpr int kMany = 400;
  for (std::uint64_t i = 0; i < kMany; ++i) {
    const auto plan = drawn(shape, {1, 1, 2}, options, i);
    flips += plan.flip[0];
    affine += plan.affine;
    elastic += plan.elastic.has_value();
    anisotropy += plan.anisotropy_axis >= 0;
    REQUIRE(!plan.flip[1]);
    REQUIRE(plan.flip[2]);
    for (std::size_t a = 0; a < 3; ++a) {
      REQUIRE(std::abs(plan.scales[a] - 1) <= 0.1);
      REQUIRE(std::abs(plan.degrees[a]) <= 10);
      REQUIRE(std::abs(plan.translation[a]) <= 3);
    }
    REQUIRE(plan.window == VolumeShape{20, 20, 50});
    REQUIRE(plan.first[1] == 0);
    REQUIRE(plan.first[2] == -5);
    low = std::min(low, plan.first[0]);
    high = std::max(high, plan.first[0]);
    if (plan.anisotropy_axis >= 0) REQUIRE((plan.anisotropy >= 1.5 && plan.anisotropy <= 5));
  }
  CHECK(low == 0);
  CHECK(high == 10);
  for (const auto& [found, share] : {std::pair{flips, 0.5}, {affine, 0.7}, {elastic, 0.4}, {anisotropy, 0.3}})
    CHECK(std::abs(found - kMany * share) < 5 * std::sqrt(kMany * share * (1 - share)));
}

TEST_CASE("locked layers of control points stay") {
  auto options = always();
  options.locked_borders = 2;
  const auto field = *drawn({30, 20, 40}, {1, 1, 1}, options, 1).elastic;
  float largest = 0;
  for (std::int64_t i = 0; i < 7; ++i)
    for (std::int64_t j = 0; j < 7; ++j)
      for (std::int64_t k = 0; k < 7; ++k)
        for (std::int64_t a = 0; a < 3; ++a) {
          const float by = field.displacement[static_cast<std::size_t>(((i * 7 + j) * 7 + k) * 3 + a)];
          const bool inner = std::min({i, j, k}) >= 2 && std::max({i, j, k}) <= 4;
          if (!inner) REQUIRE(by == 0);
          largest = std::max(largest, std::abs(by));
        }
  CHECK(largest > 5);
  CHECK(largest <= 7.5F);
}

TEST_CASE("one draw gives one plan, and another draw another") {
  const auto a = drawn({20, 20, 20}, {1, 1, 1}, always(), 5), b = drawn({20, 20, 20}, {1, 1, 1}, always(), 5), c = drawn({20, 20, 20}, {1, 1, 1}, always(), 6);
  CHECK(a.degrees == b.degrees);
  CHECK(a.elastic->displacement == b.elastic->displacement);
  CHECK(a.degrees != c.degrees);
}

TEST_CASE("label maps come back through the inverse") {
  const VolumeShape shape{72, 70, 68};
  const auto labels = balls(shape);
  const auto options = always();
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto plan = drawn(shape, {1.2, 1, 1.1}, options, i);
    std::vector<std::int32_t> there(labels.size()), back(labels.size()), again(labels.size());
    apply_spatial(plan, labels.data(), VolumeInterpolation::kLabel, there.data());
    invert_spatial(plan, there.data(), VolumeInterpolation::kLabel, 0, back.data());
    CHECK(worst_dice(labels, back) > 0.98);   // balls of 11 cells have much surface
    CHECK(worst_dice(labels, there) < 0.95);  // it was moved
  }
}

TEST_CASE("the inverse of a displacement is found to a thousandth of a cell") {
  const VolumeShape shape{48, 50, 52};
  auto options = always();
  options.max_displacement = 3;
  const auto map = drawn(shape, {1, 1, 1}, options, 2).map();
  // Volumes that hold their own coordinates: through the inverse and the map they are the identity.
  const auto back = map.inverse();
  for (std::size_t axis = 0; axis < 3; ++axis) {
    std::vector<float> ramp(cells_of(shape)), moved(ramp.size());
    std::size_t cell = 0;
    for (std::int64_t i = 0; i < shape[0]; ++i)
      for (std::int64_t j = 0; j < shape[1]; ++j)
        for (std::int64_t k = 0; k < shape[2]; ++k) ramp[cell++] = static_cast<float>(std::array{i, j, k}[axis]) + 0.5F;
    VolumeWarp(back).apply(ramp.data(), VolumeInterpolation::kLinear, -1.0F, moved.data());
    double apart = 0;
    cell = 0;
    for (std::int64_t i = 0; i < shape[0]; ++i)
      for (std::int64_t j = 0; j < shape[1]; ++j)
        for (std::int64_t k = 0; k < shape[2]; ++k, ++cell) {
          double at[3] = {static_cast<double>(i) + 0.5, static_cast<double>(j) + 0.5, static_cast<double>(k) + 0.5};
          map.move_points(at, 1, false);
          const double last = static_cast<double>(shape[axis]) - 0.5;
          if (moved[cell] < 0 || at[axis] < 0.5 || at[axis] > last) continue;  // the edge's value is no coordinate
          apart = std::max(apart, std::abs(static_cast<double>(moved[cell]) - at[axis]));
        }
    CHECK(apart < 1e-3);
  }
}

TEST_CASE("what lies outside is the minimum or what is asked for, and zero in label maps") {
  auto plan = VolumeSpatialPlan{};
  plan.shape = {4, 4, 4};
  plan.spacing = {1, 1, 1};
  plan.window = {6, 4, 4};
  plan.first = {-1, 0, 0};
  auto values = reference::noise(plan.shape, 1);
  values[20] = -3;
  std::vector<float> out(96);
  apply_spatial(plan, values.data(), VolumeInterpolation::kLinear, out.data());
  CHECK(out.front() == -3);
  CHECK(std::equal(values.begin(), values.end(), out.begin() + 16));
  plan.fill = 5;
  apply_spatial(plan, values.data(), VolumeInterpolation::kLinear, out.data());
  CHECK(out.back() == 5);
  const std::vector<std::uint8_t> labels(64, 3);
  std::vector<std::uint8_t> moved(96, 9);
  apply_spatial(plan, labels.data(), VolumeInterpolation::kNearest, moved.data());
  CHECK(moved.front() == 0);
}

TEST_CASE("lost resolution along an axis keeps lines and loses what alternates") {
  const VolumeShape shape{3, 24, 2};
  std::vector<float> line(cells_of(shape)), alternating(line.size());
  for (std::size_t i = 0; i < line.size(); ++i) {
    line[i] = static_cast<float>((i / 2) % 24);
    alternating[i] = static_cast<float>((i / 2) % 2);
  }
  auto coarse = line;
  lose_resolution(shape, 1, 4, coarse.data(), coarse.data());
  for (std::size_t i = 0; i < line.size(); ++i) {
    const auto y = (i / 2) % 24;
    if (y >= 2 && y < 22) CHECK(coarse[i] == Approx(line[i]));
  }
  lose_resolution(shape, 1, 4, alternating.data(), alternating.data());
  for (const float value : alternating) CHECK(value == Approx(0.5));
  auto same = line;
  lose_resolution(shape, 0, 1, same.data(), same.data());
  CHECK(same == line);
  lose_resolution(shape, 0, 5, same.data(), same.data());  // thicker than the volume: one cell is left
  CHECK(same[0] == Approx(line[48]));
}

TEST_CASE("spatial options are checked") {
  const auto refused = [](auto&& change, const char* text) {
    VolumeSpatialOptions options;
    change(options);
    CHECK_THROWS_WITH(check(options), Catch::Contains(text));
  };
  refused([](auto& o) { o.p_flip[1] = 2; }, "p_flip=2 must be a probability");
  refused([](auto& o) { o.p_affine = -1; }, "p_affine=-1");
  refused([](auto& o) { o.p_elastic = NAN; }, "p_elastic=nan");
  refused([](auto& o) { o.p_anisotropy = 1.5; }, "p_anisotropy=1.5");
  refused([](auto& o) { o.scales = 1; }, "scales=1 must be 0 to 0.99");
  refused([](auto& o) { o.degrees = -1; }, "degrees=-1");
  refused([](auto& o) { o.translation = INFINITY; }, "translation=inf");
  refused([](auto& o) { o.control_points = 3; }, "control_points=3 must be 4 to 64");
  refused([](auto& o) { o.max_displacement = -2; }, "max_displacement=-2");
  refused([](auto& o) { o.locked_borders = 3; }, "locked_borders=3 must be 0, 1 or 2");
  refused([](auto& o) { o.control_points = 4; }, "locks all of 4 control points");
  refused([](auto& o) { o.anisotropy = {0.5, 2}; }, "anisotropy[0]=0.5");
  refused([](auto& o) { o.anisotropy = {3, 2}; }, "anisotropy[1]=2");
  refused([](auto& o) { o.window = {-1, 0, 0}; }, "window=-1");
  refused([](auto& o) { o.fill = NAN; }, "fill=nan");
}
