#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
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
  return io::VolumeStore::from_bytes("session", io::encode_store(testing::prepared("session", session, options)));
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
  CHECK_THROWS_AS(testing::prepared("p", {{{"T1w", infinite}}, {}, {}, {}}, two_mm()), FormatError);
  auto flat = ball(6);
  std::fill(flat.values.begin(), flat.values.end(), 3.0f);
  CHECK_THROWS_AS(testing::prepared("p", {{{"T1w", flat}}, {}, {}, {}}, two_mm()), FormatError);
  auto singular = ball(6);
  singular.affine[0] = 0;
  CHECK_THROWS_AS(testing::prepared("p", {{{"T1w", singular}}, {}, {}, {}}, two_mm()), FormatError);
  auto nothing = ball(6);
  std::fill(nothing.values.begin(), nothing.values.end(), 0.0f);
  CHECK_THROWS_AS(testing::prepared("p", {{{"T1w", ball(6)}}, nothing, {}, {}}, two_mm()), FormatError);
  auto fractions = ball(6);
  CHECK_THROWS_AS(testing::prepared("p", {{{"T1w", ball(6)}}, {}, {}, fractions}, two_mm()), FormatError);
  CHECK_THROWS_AS(testing::prepared("p", {}, two_mm()), ValueError);
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

namespace {

// The middle [24, 28, n] cells of a ball along z.
io::Volume3 slab_of(const io::Volume3& whole, std::size_t first, std::size_t n) {
  io::Volume3 out{{24, 28, static_cast<std::int64_t>(n)}, {}, whole.affine};
  out.affine[11] += 2 * static_cast<double>(first);
  out.values.assign(whole.values.begin() + static_cast<std::ptrdiff_t>(24 * 28 * first),
                    whole.values.begin() + static_cast<std::ptrdiff_t>(24 * 28 * (first + n)));
  return out;
}

std::ptrdiff_t count_of(const io::VolumeStore& store, const char* channel) {
  const auto values = values_of(store, channel);
  return std::count_if(values.begin(), values.end(), [](float v) { return v > 0; });
}

}  // namespace

TEST_CASE("beyond a file's field of view a mask, deface and labels are nothing") {
  Session session{{{"T1w", ball(7)}}, {}, {}, {}};
  auto box = slab_of(ball(7), 6, 5);
  std::fill(box.values.begin(), box.values.end(), 1.0f);
  session.mask = session.deface = session.labels = box;
  auto options = two_mm();
  options.crop = Crop::kNone;
  auto store = stored(session, options);
  for (const char* channel : {"mask", "deface"}) CHECK(count_of(*store, channel) == 24 * 28 * 5);
  std::vector<std::int32_t> classes(24 * 28 * 20);
  store->read(*store->find("labels"), {0, 0, 0}, store->shape(), classes.data());
  CHECK(std::count(classes.begin(), classes.end(), 1) == 24 * 28 * 5);
  // The same with oblique grids: turned by a little about z through the middle.
  for (auto* volume : {&*session.mask, &*session.deface, &*session.labels}) {
    const double c = std::cos(0.1), s = std::sin(0.1);
    volume->affine = {-2 * c, -2 * s, 0, 23 * c + 27 * s, -2 * s, 2 * c, 0, 23 * s - 27 * c, 0, 0, 2, -19 + 12, 0, 0, 0, 1};
  }
  store = stored(session, options);
  for (const char* channel : {"mask", "deface"}) {
    CHECK(count_of(*store, channel) < 24 * 28 * 5);
    CHECK(count_of(*store, channel) > 24 * 28 * 5 * 8 / 10);
  }
  // A mask elsewhere covers nothing.
  session.mask->affine[3] += 5000;
  CHECK_THROWS_WITH(stored(session, options), Catch::Contains("session: mask"));
}

TEST_CASE("beyond its field of view a sequence has no value") {
  // The same numbers in the half that the FLAIR covers, and others beside it.
  auto half = slab_of(ball(8), 0, 10);
  Session session{{{"T1w", ball(8)}, {"FLAIR", half}}, {}, {}, {}};
  session.files.sequences = {{"T1w", "a/T1w.nii"}, {"FLAIR", "a/FLAIR.nii"}};
  std::vector<std::string> warnings;
  auto options = two_mm();
  options.crop = Crop::kNone;
  const auto store = io::VolumeStore::from_bytes("session", io::encode_store(prepare("session", session, options, warnings)));
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Catch::Contains("a/FLAIR.nii") && Catch::Contains("covers 50 %"));
  const auto values = values_of(*store, "FLAIR"), mask = values_of(*store, "mask");
  const float low = *std::min_element(values.begin(), values.end());
  double sum = 0, n = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 20 >= 10) CHECK(values[i] == low);
    if (i % 20 < 10 && mask[i] > 0) sum += values[i], ++n;
  }
  CHECK(n > 500);
  CHECK(sum / n == Approx(0).margin(1e-3));
  CHECK(count_of(*store, "mask") == count_of(*stored({{{"T1w", ball(8)}}, {}, {}, {}}, options), "mask"));
  // Nine tenths are no warning, nothing is an error that names the file.
  session.sequences[1].second = slab_of(ball(8), 3, 14);
  warnings.clear();
  prepare("session", session, options, warnings);
  CHECK(warnings.empty());
  session.sequences[1].second.affine[11] += 1000;
  CHECK_THROWS_WITH(prepare("session", session, options, warnings), Catch::Contains("a/FLAIR.nii") && Catch::Contains("field of view"));
}

TEST_CASE("errors name the file that they are about") {
  Session session{{{"T1w", ball(9)}, {"FLAIR", ball(9)}}, ball(9), ball(9), ball(9)};
  session.files = {{{"T1w", "t1.nii"}, {"FLAIR", "flair.nii"}}, "mask.nii", "deface.nii", "labels.nii"};
  CHECK_THROWS_WITH(stored(session, two_mm()), Catch::Contains("labels.nii"));  // fractions
  for (auto& value : session.labels->values) value = std::round(value);
  CHECK_NOTHROW(stored(session, two_mm()));
  auto bad = session;
  bad.sequences[1].second.affine[0] = 0;
  CHECK_THROWS_WITH(stored(bad, two_mm()), Catch::Contains("flair.nii") && Catch::Contains("affine"));
  bad = session;
  bad.deface->affine[0] = 0;
  CHECK_THROWS_WITH(stored(bad, two_mm()), Catch::Contains("deface.nii"));
  bad = session;
  std::fill(bad.mask->values.begin(), bad.mask->values.end(), 0.0f);
  CHECK_THROWS_WITH(stored(bad, two_mm()), Catch::Contains("mask.nii"));
  bad = session;
  bad.sequences[0].second.values[7] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(stored(bad, two_mm()), Catch::Contains("t1.nii"));
}

TEST_CASE("small files cannot ask for huge grids") {
  auto options = two_mm();
  const auto with_spacing = [](std::array<std::int64_t, 3> shape, std::array<double, 3> mm) {
    io::Volume3 out{shape, {}, {mm[0], 0, 0, 0, 0, mm[1], 0, 0, 0, 0, mm[2], 0, 0, 0, 0, 1}};
    for (std::int64_t i = 0; i < shape[0] * shape[1] * shape[2]; ++i) out.values.push_back(static_cast<float>(i % 7));
    return out;
  };
  // 4,000 cells an axis are allowed, 6.4e10 cells are not.
  CHECK_THROWS_WITH(stored({{{"T1w", with_spacing({8, 8, 8}, {1000, 1000, 1000})}}, {}, {}, {}}, options),
                    Catch::Contains("session: T1w") && Catch::Contains("2^30"));
  CHECK_THROWS_WITH(stored({{{"T1w", with_spacing({2, 8, 8}, {3000, 2, 2})}}, {}, {}, {}}, options), Catch::Contains("1,000 times"));
  CHECK_THROWS_WITH(stored({{{"T1w", with_spacing({8, 8, 8}, {1e-3, 2, 2})}}, {}, {}, {}}, options), Catch::Contains("1,000 times"));
  CHECK_NOTHROW(stored({{{"T1w", with_spacing({1, 8, 8}, {5000, 2, 2})}}, {}, {}, {}}, options));
  // Of other sequences too.
  CHECK_THROWS_WITH(stored({{{"T1w", ball(1)}, {"FLAIR", with_spacing({8, 8, 8}, {1e-3, 2, 2})}}, {}, {}, {}}, options),
                    Catch::Contains("FLAIR") && Catch::Contains("1,000 times"));
}

TEST_CASE("cells of any size are prepared at their own spacing") {
  auto tiny = ball(10);
  for (std::size_t i = 0; i < 12; ++i) tiny.affine[i] *= 2.5e-5;
  auto options = two_mm();
  options.spacing = {0, 0, 0};
  options.margin = 0;
  const auto store = stored({{{"T1w", tiny}}, {}, {}, {}}, options);
  CHECK(store->shape() == io::Extent3{16, 16, 16});
  CHECK(store->spacing()[0] == Approx(5e-5));
}

TEST_CASE("a finer oblique sequence is smoothed as a parallel one is") {
  // Noise in cells of 0.5 mm, brought to 2 mm.
  const auto deviation = [](double angle) {
    const double c = std::cos(angle), s = std::sin(angle);
    io::Volume3 noise{{112, 112, 80}, {}, {0.5 * c, -0.5 * s, 0, 0, 0.5 * s, 0.5 * c, 0, 0, 0, 0, 0.5, -20, 0, 0, 0, 1}};
    for (std::size_t i = 0; i < 2; ++i) noise.affine[4 * i + 3] = -55.5 * (noise.affine[4 * i] + noise.affine[4 * i + 1]);
    Philox random({3, 0, 0}, Stream::kWindow, true);
    for (std::int64_t i = 0; i < 112 * 112 * 80; ++i) noise.values.push_back(static_cast<float>(random.normal()));
    auto options = two_mm();
    options.normalize = Normalize::kNone;
    options.clip = {0, 100};
    const auto store = stored({{{"T1w", ball(11)}, {"T2w", noise}}, {}, {}, {}}, options);
    const auto values = values_of(*store, "T2w"), mask = values_of(*store, "mask");
    double squares = 0, n = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (mask[i] > 0) squares += values[i] * values[i], ++n;
    return std::sqrt(squares / n);
  };
  const double parallel = deviation(0), oblique = deviation(0.1);
  CHECK(parallel < 0.3);
  CHECK(oblique < 1.1 * parallel);
  CHECK(oblique > 0.3 * parallel);
}

TEST_CASE("a volume's checksum depends on its values and its shape alone") {
  auto options = two_mm();
  const auto volume = ball(12);
  const auto checksum = checksum_of(volume);
  CHECK(checksum.size() == 16);
  const auto facts = stored({{{"T1w", volume}, {"FLAIR", ball(13)}}, {}, {}, {}}, options)->facts();
  CHECK(first_checksum("a.smv", facts) == checksum);
  CHECK(facts.find(checksum_of(ball(13))) != std::string::npos);
  options.spacing = {3, 3, 3};
  CHECK(first_checksum("a.smv", stored({{{"T1w", volume}}, {}, {}, {}}, options)->facts()) == checksum);
  auto other = volume;
  std::swap(other.shape[0], other.shape[1]);
  CHECK(checksum_of(other) != checksum);
  other = volume;
  other.values[5] += 1;
  CHECK(checksum_of(other) != checksum);
  CHECK_THROWS_WITH(first_checksum("a.smv", "{\"sequences\": {\"T1w\": {}}}"), Catch::Contains("a.smv") && Catch::Contains("checksum"));
}
