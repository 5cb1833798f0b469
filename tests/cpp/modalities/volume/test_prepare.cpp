#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "modalities/volume/prepare.h"
#include "modalities/volume/volumes.h"

using namespace sslmed;
using namespace sslmed::volume;
using testing::ball;
using testing::two_mm;

namespace {

std::shared_ptr<const io::VolumeStore> stored(const Session& session, const PreparationOptions& options) {
  return io::VolumeStore::from_bytes("session", io::encode_store(prepare("session", session, options)));
}

std::vector<float> values_of(const io::VolumeStore& store, const char* channel = "T1w") {
  const auto& shape = store.shape();
  std::vector<float> values(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
  store.read(*store.find(channel), {0, 0, 0}, shape, values.data());
  return values;
}

// Sum of values times x within the mask: which side is brighter.
double right_minus_left(const io::VolumeStore& store) {
  const auto values = values_of(store), mask = values_of(store, "mask");
  const auto& shape = store.shape();
  double sum = 0;
  std::size_t i = 0;
  for (std::int64_t x = 0; x < shape[0]; ++x)
    for (std::int64_t yz = 0; yz < shape[1] * shape[2]; ++yz, ++i)
      if (mask[i] > 0) sum += values[i] * (static_cast<double>(x) - 0.5 * static_cast<double>(shape[0] - 1));
  return sum;
}

}  // namespace

TEST_CASE("a prepared volume is upright, cropped and z-scored within its mask") {
  const auto store = stored({{{"T1w", ball(1)}}, {}, {}, {}}, two_mm());
  CHECK(store->shape() == io::Extent3{20, 20, 20});  // the ball of 16 cells, and 2 cells of margin each side
  CHECK(store->spacing() == std::array<double, 3>{2, 2, 2});
  const auto values = values_of(*store), mask = values_of(*store, "mask");
  double sum = 0, squares = 0, n = 0;
  float outside = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (mask[i] == 0) outside = values[i];
    if (mask[i] == 0) continue;
    sum += values[i];
    squares += values[i] * values[i];
    ++n;
  }
  CHECK(sum / n == Approx(0).margin(1e-3));
  CHECK(squares / (n - 1) == Approx(1).epsilon(1e-3));
  CHECK(outside == *std::min_element(values.begin(), values.end()));
  CHECK(right_minus_left(*store) > 0);
  // The first cell of the box, where it was in the scanner.
  CHECK(store->affine()[3] == Approx(-23 + 2 * 2));
  CHECK(store->facts().find("\"LAS\"") != std::string::npos);
}

TEST_CASE("however a volume is stored, it is prepared to the same cells") {
  const auto las = ball(2);
  // The same cells with other axes: stored as ASL.
  io::Volume3 asl{{28, 20, 24}, std::vector<float>(las.values.size()), {0, 0, -2, 23, 2, 0, 0, -27, 0, 2, 0, -19, 0, 0, 0, 1}};
  for (std::size_t z = 0; z < 20; ++z)
    for (std::size_t y = 0; y < 28; ++y)
      for (std::size_t x = 0; x < 24; ++x) asl.values[y + 28 * (z + 20 * x)] = las.values[x + 24 * (y + 28 * z)];
  const auto a = stored({{{"T1w", las}}, {}, {}, {}}, two_mm()), b = stored({{{"T1w", asl}}, {}, {}, {}}, two_mm());
  CHECK(a->shape() == b->shape());
  CHECK(a->affine() == b->affine());
  CHECK(values_of(*a) == values_of(*b));
}

TEST_CASE("gain does not matter after z-scoring, and stays without it") {
  auto options = two_mm();
  const auto one = stored({{{"T1w", ball(3)}}, {}, {}, {}}, options), ten = stored({{{"T1w", ball(3, 10)}}, {}, {}, {}}, options);
  const auto a = values_of(*one), b = values_of(*ten);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).margin(1e-3));
  options.normalize = Normalize::kNone;
  options.clip = {0, 100};
  const auto raw = values_of(*stored({{{"T1w", ball(3)}}, {}, {}, {}}, options));
  const auto truth = ball(3).values;
  CHECK(*std::max_element(raw.begin(), raw.end()) == Approx(*std::max_element(truth.begin(), truth.end())).epsilon(1e-3));
  options.storage = Storage::kUint8;
  const auto bytes = values_of(*stored({{{"T1w", ball(3)}}, {}, {}, {}}, options));
  for (std::size_t i = 0; i < raw.size(); ++i) CHECK(std::abs(bytes[i] - raw[i]) <= 0.5 * 60 / 255 + 0.01);
}

TEST_CASE("sequences, masks and labels on other grids come to the first one's") {
  Session session{{{"T1w", ball(4)}}, {}, {}, {}};
  // Half the resolution along z, in the same place.
  auto flair = ball(4);
  io::Volume3 coarse{{24, 28, 10}, {}, flair.affine};
  coarse.affine[10] = 4;
  coarse.affine[11] = -18;
  for (std::size_t z = 0; z < 10; ++z)
    for (std::size_t i = 0; i < 24 * 28; ++i) coarse.values.push_back((flair.values[i + 24 * 28 * 2 * z] + flair.values[i + 24 * 28 * (2 * z + 1)]) / 2);
  session.sequences.emplace_back("FLAIR", coarse);
  auto labels = ball(4), mask = ball(4);
  for (auto& value : labels.values) value = value > 80 ? 7.0f : value > 0 ? 3.0f : 0.0f;
  for (std::size_t i = 0; i < mask.values.size(); ++i) mask.values[i] = mask.values[i] > 0 && i < 24 * 28 * 12 ? 1.0f : 0.0f;
  session.labels = labels;
  session.mask = mask;
  session.deface = mask;
  const auto store = stored(session, two_mm());
  CHECK(store->channels().size() == 5);
  CHECK(store->shape()[2] == 14);  // cells 2 to 11 of the mask, and a margin of two each side
  const auto t1 = values_of(*store), other = values_of(*store, "FLAIR"), anatomy = values_of(*store, "mask");
  double product = 0, a = 0, b = 0;
  // Away from the ball's edge, where the coarse volume is a mixture with the outside.
  std::vector<std::size_t> inner;
  double mean[2] = {0, 0};
  for (std::int64_t x = 0; x < 20; ++x)
    for (std::int64_t y = 0; y < 20; ++y)
      for (std::int64_t z = 2; z < 11; ++z) {
        const auto i = static_cast<std::size_t>((x * 20 + y) * 14 + z);
        if (anatomy[i] == 0 || std::pow(x - 9.5, 2) + std::pow(y - 9.5, 2) + std::pow(z - 9.5, 2) > 25) continue;
        inner.push_back(i);
        mean[0] += t1[i];
        mean[1] += other[i];
      }
  REQUIRE(inner.size() > 100);
  const auto n = static_cast<double>(inner.size());
  for (const auto i : inner) {
    const double u = t1[i] - mean[0] / n, v = other[i] - mean[1] / n;
    product += u * v;
    a += u * u;
    b += v * v;
  }
  CHECK(product / std::sqrt(a * b) > 0.9);
  std::vector<std::int32_t> classes(t1.size());
  store->read(*store->find("labels"), {0, 0, 0}, store->shape(), classes.data());
  CHECK(std::count(classes.begin(), classes.end(), 7) > 100);
  CHECK(std::count(classes.begin(), classes.end(), 3) > 100);
  CHECK(std::count_if(classes.begin(), classes.end(), [](auto c) { return c != 0 && c != 3 && c != 7; }) == 0);
}

TEST_CASE("a turned sequence is resampled to the reference") {
  Session session{{{"T1w", ball(5)}}, {}, {}, {}};
  auto turned = ball(5);
  const double c = std::cos(0.2), s = std::sin(0.2);
  // The scanner's axes are turned about z through the middle; so a ball with a gradient along its own x is turned too.
  turned.affine = {-2 * c, -2 * s, 0, 23 * c + 27 * s, -2 * s, 2 * c, 0, 23 * s - 27 * c, 0, 0, 2, -19, 0, 0, 0, 1};
  session.sequences.emplace_back("T2w", turned);
  const auto store = stored(session, two_mm());
  const auto t2 = values_of(*store, "T2w"), mask = values_of(*store, "mask");
  double along[2] = {0, 0};
  std::size_t i = 0;
  for (std::int64_t x = 0; x < store->shape()[0]; ++x)
    for (std::int64_t y = 0; y < store->shape()[1]; ++y)
      for (std::int64_t z = 0; z < store->shape()[2]; ++z, ++i) {
        if (mask[i] == 0) continue;
        along[0] += t2[i] * (static_cast<double>(x) - 9.5);
        along[1] += t2[i] * (static_cast<double>(y) - 9.5);
      }
  CHECK(std::atan2(along[1], along[0]) == Approx(0.2).margin(0.03));
}

TEST_CASE("NaN outside of the head counts as nothing, and what cannot be prepared is refused") {
  auto with_nan = ball(6);
  for (auto& value : with_nan.values)
    if (value == 0) value = std::numeric_limits<float>::quiet_NaN();
  CHECK(stored({{{"pet", with_nan}}, {}, {}, {}}, two_mm())->shape() == io::Extent3{20, 20, 20});
  auto infinite = ball(6);
  infinite.values[5000] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(prepare("p", {{{"T1w", infinite}}, {}, {}, {}}, two_mm()), FormatError);
  auto flat = ball(6);
  std::fill(flat.values.begin(), flat.values.end(), 3.0f);
  CHECK_THROWS_AS(prepare("p", {{{"T1w", flat}}, {}, {}, {}}, two_mm()), FormatError);
  auto singular = ball(6);
  singular.affine[0] = 0;
  CHECK_THROWS_AS(prepare("p", {{{"T1w", singular}}, {}, {}, {}}, two_mm()), FormatError);
  auto nothing = ball(6);
  std::fill(nothing.values.begin(), nothing.values.end(), 0.0f);
  CHECK_THROWS_AS(prepare("p", {{{"T1w", ball(6)}}, nothing, {}, {}}, two_mm()), FormatError);
  auto fractions = ball(6);
  CHECK_THROWS_AS(prepare("p", {{{"T1w", ball(6)}}, {}, {}, fractions}, two_mm()), FormatError);
  CHECK_THROWS_AS(prepare("p", {}, two_mm()), ValueError);
  auto options = two_mm();
  options.clip = {60, 40};
  CHECK_THROWS_AS(check(options), ValueError);
  options = two_mm();
  options.spacing[1] = -1;
  CHECK_THROWS_AS(check(options), ValueError);
  options = two_mm();
  options.margin = -1;
  CHECK_THROWS_AS(check(options), ValueError);
}
