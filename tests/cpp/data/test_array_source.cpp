#include <catch2/catch.hpp>
#include <numeric>

#include "core/error.h"
#include "data/array_source.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {

struct Arrays {
  std::vector<float> floats = std::vector<float>(24);
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(12, 7);
  Arrays() { std::iota(floats.begin(), floats.end(), 0.f); }
  std::vector<ArrayEntry> entries() const {
    return {{"a.npy", "p", "here", {2, 3, 4}, floats.data(), nullptr, {1, 2}, {{"age", 40.0}, {"map", LabelMap{{2, 3}, {0, 1, 2, 3, 4, 5}}}}},
            {"b.npy", "q", "there", {2, 2, 3}, bytes.data(), nullptr, {0.5, 0}, {}}};
  }
};

}  // namespace

TEST_CASE("arrays are samples with their names, spacing and targets") {
  const Arrays arrays;
  const ArraySource source("volumes", arrays.entries());
  REQUIRE(source.size() == 2);
  CHECK(source.first_samples() == std::vector<std::int64_t>{0, 1, 2});
  CHECK(source.describe(1).subject == "q");
  CHECK(source.describe(1).site == "there");
  CHECK(source.describe(1).file == "b.npy");
  CHECK(source.describe(1).recording == 1);
  CHECK(source.describe(0).text() == "a.npy");
  const auto sample = source.sample(0, {});
  REQUIRE(sample.arrays.size() == 1);
  CHECK(sample.arrays[0].modality == "volumes");
  CHECK(sample.arrays[0].shape == std::vector<std::int64_t>{2, 3, 4});
  CHECK(std::get<std::vector<float>>(sample.arrays[0].values) == arrays.floats);
  const auto& space = std::get<GridSpace>(sample.arrays[0].space);
  CHECK(space.spacing == std::vector<double>{1, 2});
  CHECK(space.origin == std::vector<double>{0, 0});
  CHECK(std::get<double>(sample.targets.at("age")) == 40);
  CHECK(std::get<LabelMap>(sample.targets.at("map")).classes.back() == 5);
  // Bytes stay bytes.
  CHECK(std::get<std::vector<std::uint8_t>>(source.sample(1, {}).arrays[0].values) == arrays.bytes);
  CHECK_THROWS_WITH(source.sample(2, {}), "sample 2 of 2");
  CHECK_THROWS_AS(source.describe(-1), ValueError);
}

TEST_CASE("an owner lives as long as its source") {
  const auto values = std::make_shared<std::vector<float>>(8, 1.f);
  const std::weak_ptr<std::vector<float>> watched = values;
  {
    auto owned = values;
    const ArraySource source("volumes", {{"a", "p", "s", {4, 2}, owned->data(), owned, {1}, {}}});
    owned.reset();
    CHECK(watched.use_count() == 2);
  }
  CHECK(watched.use_count() == 1);
}

TEST_CASE("arrays whose shape or spacing does not fit are refused by name") {
  const Arrays arrays;
  CHECK_THROWS_WITH(ArraySource("volumes", {}), Catch::Contains("entries"));
  const auto refused = [&](const auto& change, const std::string& about) {
    auto entries = arrays.entries();
    change(entries[1]);
    CHECK_THROWS_WITH(ArraySource("volumes", entries), Catch::Contains("b.npy") && Catch::Contains(about));
  };
  refused([](ArrayEntry& entry) { entry.shape = {12}; }, "[spatial…, channels]");
  refused([](ArrayEntry& entry) { entry.shape = {2, 0, 3}; }, "not empty");
  refused([](ArrayEntry& entry) { entry.spacing = {1}; }, "spacing has 1 axes, expected 2");
}
