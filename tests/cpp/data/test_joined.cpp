#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/grid_recipe.h"
#include "data/joined.h"
#include "fake_source.h"
#include "modalities/eeg/eeg_recipe.h"
#include "toy/ramp_source.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {

// Recordings with 2, 0 and 3 samples, each of which names itself.
class Uneven : public Source {
 public:
  explicit Uneven(std::string name) : name_(std::move(name)) {}
  std::int64_t size() const override { return 5; }
  SampleInfo describe(std::int64_t i) const override { return {name_, "site", name_ + std::to_string(i), i < 2 ? 0 : 2, {}}; }
  std::vector<std::int64_t> first_samples() const override { return {0, 2, 2, 5}; }
  Sample sample(std::int64_t i, const Draw&) const override {
    Sample sample;
    sample.arrays.push_back({name_, {1, 1}, std::vector<float>{static_cast<float>(i)}, GridSpace{{0}, {0}}});
    return sample;
  }

 private:
  std::string name_;
};

}  // namespace

TEST_CASE("samples of joined sources are found by the cohort's rows") {
  // Rows of a table: b0, a0, a1, b1, b2, a2.
  const JoinedSource source({std::make_shared<const Uneven>("a"), std::make_shared<const Uneven>("b")}, {1, 0, 0, 1, 1, 0});
  CHECK(source.size() == 10);
  CHECK(source.first_samples() == std::vector<std::int64_t>{0, 2, 4, 4, 4, 7, 10});
  const std::vector<std::string> files{"b0", "b1", "a0", "a1", "b2", "b3", "b4", "a2", "a3", "a4"};
  const std::vector<std::int64_t> rows{0, 0, 1, 1, 4, 4, 4, 5, 5, 5};
  for (std::int64_t i = 0; i < 10; ++i) {
    const auto at = static_cast<std::size_t>(i);
    CHECK(source.describe(i).file == files[at]);
    CHECK(source.describe(i).recording == rows[at]);
    const auto sample = source.sample(i, {});
    CHECK(sample.arrays[0].modality + std::to_string(static_cast<int>(std::get<std::vector<float>>(sample.arrays[0].values)[0])) == files[at]);
  }
  CHECK_THROWS_WITH(source.sample(10, {}), "sample 10 of 10");
  CHECK_THROWS_AS(source.describe(-1), ValueError);
}

TEST_CASE("rows that do not fit their sources are refused") {
  const auto a = std::make_shared<const Uneven>("a"), b = std::make_shared<const Uneven>("b");
  CHECK_THROWS_WITH(JoinedSource({a, b}, {0, 0, 0, 1, 1, 2}), Catch::Contains("recording 5 is of source 2, expected 0 to 1"));
  CHECK_THROWS_WITH(JoinedSource({a, b}, {0, 0, 0, 1, 1, -1}), Catch::Contains("source -1"));
  CHECK_THROWS_WITH(JoinedSource({a, b}, {0, 0, 0, 0, 1, 1, 1}), Catch::Contains("more recordings of source 0 than its 3"));
  CHECK_THROWS_WITH(JoinedSource({a, b}, {0, 0, 0, 1, 1}), Catch::Contains("part_of names 2 recordings of source 1, which has 3"));
  CHECK_THROWS_WITH(JoinedSource({}, {}), Catch::Contains("must hold at least one source"));
}

TEST_CASE("every sample goes to its modality's recipe") {
  const auto eeg = std::make_shared<const eeg::EegRecipe>(eeg::EegRecipeOptions{8, 0});
  GridView cubes;
  cubes.patch = {4, 4, 4};
  const auto grid = std::make_shared<const GridRecipe>(std::vector<GridView>{cubes});
  const JoinedRecipe recipe({{"eeg", eeg}, {"ramps", grid}});
  const testing::FakeSource signals(2);
  const toy::RampSource ramps(2);
  const Draw draw{1, 2, 3};
  const auto key = [](const std::vector<View>& views) { return std::get<Patches>(views.at(0).content).key; };
  CHECK(key(recipe.make(signals.sample(1, draw), draw)) == EmbeddingKey{"eeg", {8}, 1});
  const auto views = recipe.make(ramps.sample(1, draw), draw);
  CHECK(key(views) == EmbeddingKey{"ramps", {4, 4, 4}, 1});
  const auto values = [](const std::vector<View>& made) { return std::get<std::vector<float>>(std::get<Patches>(made.at(0).content).values); };
  CHECK(values(views) == values(grid->make(ramps.sample(1, draw), draw)));
  CHECK_THROWS_WITH(JoinedRecipe({{"eeg", eeg}}).make(ramps.sample(0, draw), draw), Catch::Contains("no recipe for the modality 'ramps'"));
  auto both = ramps.sample(0, draw);
  both.arrays.push_back(signals.sample(0, draw).arrays[0]);
  CHECK_THROWS_WITH(recipe.make(both, draw), Catch::Contains("'ramps'") && Catch::Contains("'eeg'"));
  CHECK_THROWS_WITH(recipe.make(Sample{}, draw), Catch::Contains("without an array"));
  CHECK_THROWS_AS(JoinedRecipe({}), ValueError);
}
