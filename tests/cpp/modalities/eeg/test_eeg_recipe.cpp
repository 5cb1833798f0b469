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
