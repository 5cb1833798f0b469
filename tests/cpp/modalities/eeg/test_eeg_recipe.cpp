#include <algorithm>
#include <catch2/catch.hpp>

#include "core/error.h"
#include "fake_source.h"
#include "modalities/eeg/eeg_recipe.h"

using namespace sslmed;
using namespace sslmed::eeg;

namespace {

const data::Patches& patches_of(const data::View& view) { return std::get<data::Patches>(view.content); }
const std::vector<float>& numbers(const data::View& view) { return std::get<std::vector<float>>(patches_of(view).values); }

EegRecipeOptions eeg_options(std::int64_t patch, masking::Mode mode, double ratio = 0.5, std::int32_t block = 2, std::int64_t overlap = 0) {
  return {patch, overlap, {{"tokens", 1, 0, {}, {mode, ratio, block}}}};
}

}  // namespace

TEST_CASE("patches carry their values, places and masks") {
  using masking::Mode;
  const testing::FakeSource source(4);
  const EegRecipe recipe(eeg_options(8, Mode::kRandom));
  const auto sample = source.sample(1, {0, 0, 1});
  const auto& signal = std::get<std::vector<float>>(sample.arrays[0].values);
  const auto views = recipe.make(sample, {0, 0, 1});
  REQUIRE(views.size() == 1);
  const auto& view = patches_of(views[0]);
  CHECK(view.count == 12);
  CHECK(view.key == EmbeddingKey{"eeg", {8}, 1});
  CHECK(view.extent == std::vector<std::int32_t>{3, 4});
  CHECK(numbers(views[0]) == signal);
  CHECK(view.coords[4 * 5 + 3] == Approx(1.5 * 8 / 32));
  CHECK(view.grid[2 * 5] == 1);
  CHECK(view.grid[2 * 5 + 1] == 1);
  CHECK(views[0].mask->visible.size() == 6);
  CHECK(recipe.make(sample, {0, 0, 1})[0].mask->visible == views[0].mask->visible);
  CHECK(recipe.make(sample, {0, 1, 1})[0].mask->visible != views[0].mask->visible);
  // Overlapping ones begin 8 - 3 samples apart: 5 of 32.
  const auto overlapping = EegRecipe(eeg_options(8, Mode::kRandom, 0.5, 2, 3)).make(sample, {0, 0, 1})[0];
  const auto& over = patches_of(overlapping);
  REQUIRE(over.count == 15);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t t = 0; t < 5; ++t) {
      const auto* patch = numbers(overlapping).data() + 8 * (5 * c + t);
      CHECK(std::equal(patch, patch + 8, signal.begin() + static_cast<std::ptrdiff_t>(32 * c + 5 * t)));
      CHECK(over.coords[4 * (5 * c + t) + 3] == Approx((5.0 * static_cast<double>(t) + 4) / 32));
    }
  CHECK_THROWS_AS(EegRecipe(eeg_options(8, Mode::kRandom, 0.5, 2, 8)), ValueError);
  CHECK_THROWS_AS(EegRecipe(eeg_options(8, Mode::kRandom, 0.5, 2, -1)), ValueError);
  // What does not fill a patch at the end is left out.
  CHECK(numbers(EegRecipe(eeg_options(10, Mode::kNone)).make(sample, {})[0]).size() == 90);
  CHECK_THROWS_AS(EegRecipe(eeg_options(64, Mode::kNone)).make(sample, {}), ValueError);
  CHECK_THROWS_AS(EegRecipe(eeg_options(1, Mode::kNone)), ValueError);
  CHECK_THROWS_AS(EegRecipe(eeg_options(8, Mode::kRandom, 1)), ValueError);
}

TEST_CASE("a complementary view of a recording sees what the other one hides") {
  for (const auto mode : {masking::Mode::kRandom, masking::Mode::kTime, masking::Mode::kChannel, masking::Mode::kSpace}) {
    auto options = eeg_options(8, mode);
    options.views[0].mask.complementary = true;
    const auto views = EegRecipe(options).make(testing::FakeSource(4).sample(1, {}), {0, 0, 1});
    REQUIRE(views.size() == 2);
    CHECK(views[0].mask->visible == views[1].mask->masked);
    CHECK(views[0].mask->masked == views[1].mask->visible);
    CHECK(numbers(views[0]) == numbers(views[1]));
  }
}

TEST_CASE("multi-block masks see channels by their place, not by their order in the file") {
  data::ChannelSpace space;
  space.sfreq = 32;
  for (int c = 0; c < 8; ++c) space.positions.push_back({static_cast<float>(c % 2), static_cast<float>(-c), 0});
  space.extra.assign(8, -1);
  data::Sample sample;
  sample.arrays.push_back({"eeg", {8, 64}, std::vector<float>(8 * 64, 1), space});
  auto turned = sample;
  auto& positions = std::get<data::ChannelSpace>(turned.arrays[0].space).positions;
  std::reverse(positions.begin(), positions.end());
  for (const auto mode : {masking::Mode::kMultiblock, masking::Mode::kMultiblockExact}) {
    const EegRecipe recipe(eeg_options(8, mode, 0, 1));
    const auto view = recipe.make(sample, {3, 0, 5, 1})[0], other = recipe.make(turned, {3, 0, 5, 1})[0];
    const auto &masked = view.mask->masked, &theirs = other.mask->masked;
    REQUIRE(view.mask->blocks == 4);
    REQUIRE(masked.size() % 4 == 0);
    REQUIRE(masked.size() == theirs.size());
    for (std::size_t i = 0; i < masked.size(); ++i) {
      CHECK(masked[i] / 8 == 7 - theirs[i] / 8);
      CHECK(masked[i] % 8 == theirs[i] % 8);
    }
    CHECK(recipe.make(sample, {3, 0, 6, 1})[0].mask->masked.size() == masked.size());  // one size a batch
    CHECK(recipe.make(sample, {3, 0, 6, 1})[0].mask->masked != masked);
  }
}

TEST_CASE("several views of a window are parts of it, numbered by role") {
  const testing::FakeSource source(4);
  const auto sample = source.sample(1, {0, 0, 1});
  const auto& signal = std::get<std::vector<float>>(sample.arrays[0].values);
  const EegRecipe recipe({8, 0, {{"global", 1}, {"global", 1, 0, {}, {masking::Mode::kBlock, 0.5}}, {"local", 3, 16}}});
  const auto views = recipe.make(sample, {0, 0, 1});
  REQUIRE(views.size() == 5);
  CHECK(views[1].role == "global");
  CHECK(views[1].number == 1);
  CHECK(views[4].number == 2);
  CHECK(numbers(views[0]) == signal);
  CHECK(numbers(views[1]) == signal);
  CHECK_FALSE(views[0].mask.has_value());
  CHECK(views[1].mask->masked.size() == 6);
  CHECK(std::is_sorted(views[1].mask->visible.begin(), views[1].mask->visible.end()));
  std::vector<std::int64_t> starts;
  for (std::size_t v = 2; v < 5; ++v) {
    const auto& view = patches_of(views[v]);
    CHECK(view.count == 6);
    CHECK(view.extent == std::vector<std::int32_t>{3, 2});
    CHECK(view.coords[3] == Approx(0.5 * 8 / 32));  // its own time
    const auto found = std::search(signal.begin(), signal.begin() + 32, numbers(views[v]).begin(), numbers(views[v]).begin() + 16);
    REQUIRE(found != signal.begin() + 32);
    starts.push_back(found - signal.begin());
    for (std::int64_t c = 0; c < 3; ++c)
      CHECK(std::equal(numbers(views[v]).begin() + 16 * c, numbers(views[v]).begin() + 16 * (c + 1), signal.begin() + 32 * c + starts.back()));
  }
  CHECK((starts[0] != starts[1] || starts[1] != starts[2]));
}

TEST_CASE("dropped channels are no tokens, and zero in dense views") {
  const testing::FakeSource source(4);
  const auto sample = source.sample(1, {0, 0, 1});
  transforms::SignalAugmentation drop;
  drop.p_channel_drop = 1;
  drop.channel_drop = 0.6;
  const EegRecipe cut({8, 0, {{"global", 1, 0, drop}}}), whole({0, 0, {{"global", 1, 0, drop}}});
  std::size_t fewer = 0;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto tokens = cut.make(sample, {0, 0, i})[0];
    const auto dense = std::get<data::Dense>(whole.make(sample, {0, 0, i})[0].content);
    CHECK(dense.shape == std::vector<std::int64_t>{3, 32});
    const auto& values = std::get<std::vector<float>>(dense.values);
    std::vector<float> kept;
    for (std::size_t c = 0; c < 3; ++c)
      if (const auto* row = values.data() + 32 * c; std::any_of(row, row + 32, [](float x) { return x != 0; })) kept.insert(kept.end(), row, row + 32);
    CHECK(numbers(tokens) == kept);
    CHECK(patches_of(tokens).grid.back() == 3);
    fewer += kept.size() < values.size();
  }
  CHECK(fewer > 10);
}

TEST_CASE("views of recordings that cannot be are refused by their names") {
  CHECK_THROWS_WITH(EegRecipe({8, 0, {{"local", 1, 12}}}), Catch::Contains("view 'local'") && Catch::Contains("length=12"));
  CHECK_THROWS_WITH(EegRecipe({8, 0, {{"local", 0}}}), Catch::Contains("count=0"));
  CHECK_THROWS_WITH(EegRecipe({8, 0, {}}), Catch::Contains("views"));
  CHECK_THROWS_WITH(EegRecipe({8, 0, {{"local", 1, 64}}}).make(testing::FakeSource(4).sample(1, {}), {}), Catch::Contains("length=64"));
  CHECK_THROWS_WITH(EegRecipe({0, 0, {{"tokens", 1, 0, {}, {masking::Mode::kSpace, 0.5}}}}), Catch::Contains("mask"));
  transforms::SignalAugmentation bad;
  bad.p_noise = 2;
  CHECK_THROWS_WITH(EegRecipe({8, 0, {{"local", 1, 0, bad}}}), Catch::Contains("p_noise"));
}
