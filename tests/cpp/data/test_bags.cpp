#include <catch2/catch.hpp>
#include <cstring>

#include "core/error.h"
#include "data/bags.h"
#include "io/safetensors.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::data;
using Catch::Matchers::Contains;

namespace {

using Metadata = std::map<std::string, std::string>;

// Rows 0, 1, 2 … of two numbers, at these corners.
std::string bag_file(const testing::TemporaryFolder& folder, const std::string& name, const std::vector<std::int64_t>& coords,
                     const Metadata& metadata = {{"mpp", "0.5"}, {"tile", "256"}, {"step", "256"}}) {
  const auto n = static_cast<std::int64_t>(coords.size()) / 2;
  std::vector<float> rows;
  for (std::int64_t i = 0; i < 2 * n; ++i) rows.push_back(static_cast<float>(i));
  io::write_safetensors(folder / name, {{"features", "F32", {n, 2}, rows.data()}, {"coords", "I64", {n, 2}, coords.data()}}, metadata);
  return folder / name;
}

std::vector<float> cells_of(const Sample& sample) { return std::get<std::vector<float>>(sample.arrays[1].values); }

}  // namespace

TEST_CASE("slides of a bag stand below each other, three empty cells apart") {
  const testing::TemporaryFolder folder;
  const auto a = bag_file(folder, "a", {512, 256, 768, 512}), b = bag_file(folder, "b", {0, 0, 256, 0, 0, 256});
  const BagSource source({{"ab", "p", "", {a, b}, {{"target", 1.0}}}}, {});
  CHECK(source.size() == 1);
  CHECK(source.describe(0).subject == "p");
  CHECK(source.describe(0).file == a);
  auto sample = source.sample(0, {});
  CHECK(sample.arrays[0].shape == std::vector<std::int64_t>{5, 2});
  CHECK(std::get<std::vector<float>>(sample.arrays[0].values) == std::vector<float>{0, 1, 2, 3, 0, 1, 2, 3, 4, 5});
  CHECK(cells_of(sample) == std::vector<float>{0, 0, 1, 1, 5, 0, 5, 1, 6, 0});  // row, column
  const auto& places = std::get<ChannelSpace>(sample.arrays[0].space).positions;
  CHECK(places[0][0] == Approx(0.064));
  CHECK(places[1][1] == Approx(0.192));
  CHECK(places[2][1] == Approx(5 * 0.128 + 0.064));
  const auto views = BagRecipe().make(std::move(sample), {});
  REQUIRE(views.size() == 1);
  const auto& patches = std::get<Patches>(views[0].content);
  CHECK(views[0].role == "bag");
  CHECK(patches.count == 5);
  CHECK(patches.key.values() == 2);
  CHECK(patches.extent == std::vector<std::int32_t>{7, 2});
  CHECK(patches.grid == std::vector<std::int32_t>{0, 0, 1, 1, 5, 0, 5, 1, 6, 0});
}

TEST_CASE("rows that stay are drawn by epoch, in their order") {
  const testing::TemporaryFolder folder;
  std::vector<std::int64_t> coords;
  for (std::int64_t i = 0; i < 30; ++i) coords.insert(coords.end(), {256 * i, 0});
  const BagSource source({{"a", "p", "", {bag_file(folder, "a", coords)}, {}}}, {7});
  const auto first = cells_of(source.sample(0, {1, 0, 0})), again = cells_of(source.sample(0, {1, 0, 0}));
  CHECK(first.size() == 14);
  CHECK(first == again);
  CHECK(first != cells_of(source.sample(0, {1, 1, 0})));
  for (std::size_t i = 3; i < first.size(); i += 2) CHECK(first[i] > first[i - 2]);
  const auto sample = source.sample(0, {1, 0, 0});
  const auto& rows = std::get<std::vector<float>>(sample.arrays[0].values);
  for (std::size_t i = 0; i < 7; ++i) CHECK(rows[2 * i] == 2 * first[2 * i + 1]);
}

TEST_CASE("files that are no bags are refused by what is wrong") {
  const testing::TemporaryFolder folder;
  const auto refused = [&](const std::string& path, const std::string& text) {
    const BagSource source({{"x", "p", "", {path}, {}}}, {});
    CHECK_THROWS_WITH(source.sample(0, {}), Contains(text) && Contains(path));
  };
  refused(bag_file(folder, "m", {0, 0}, {{"tile", "256"}, {"step", "256"}}), "metadata 'mpp'");
  refused(bag_file(folder, "t", {0, 0}, {{"mpp", "0.5"}, {"tile", "wide"}, {"step", "256"}}), "metadata 'tile' as a positive number");
  refused(bag_file(folder, "n", {0, 0}, {{"mpp", "nan"}, {"tile", "1"}, {"step", "256"}}), "metadata 'mpp' as a positive number");
  refused(bag_file(folder, "f", {0, 0, 2'000'000'000, 0}), "coords within a slide");
  refused(bag_file(folder, "g", {0, 0, 1'000'000, 1'000'000}, {{"mpp", "0.5"}, {"tile", "1"}, {"step", "1"}}), "a grid of");
  const float one = 1;
  io::write_safetensors(folder / "r", {{"features", "F32", {1}, &one}}, {});
  refused(folder / "r", "features F16 or F32 [N, D]");
  io::write_safetensors(folder / "c", {{"features", "F32", {1, 1}, &one}}, {});
  refused(folder / "c", "a tensor 'coords'");
  CHECK_THROWS_AS(BagSource({}, {}), ValueError);
  CHECK_THROWS_WITH(BagSource({{"x", "p", "", {}, {}}}, {}), Contains("has no files"));
  CHECK_THROWS_WITH(BagSource({{"x", "p", "", {"f"}, {}}}, {-1}), Contains("max_rows=-1"));
  CHECK_THROWS_AS(BagRecipe().make({}, {}), ValueError);
}
