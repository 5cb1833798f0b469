#include <algorithm>
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/patch_recipe.h"
#include "fake_source.h"

using namespace sslmed;
using namespace sslmed::data;

TEST_CASE("patches carry their values, places and masks") {
  const testing::FakeSource source(4);
  const PatchRecipe recipe({8, MaskMode::kRandom, 0.5, 2});
  const auto sample = source.sample(1, {0, 0, 1});
  const auto views = recipe.make(sample, {0, 0, 1});
  REQUIRE(views.size() == 1);
  const auto& view = views[0];
  CHECK(view.count == 12);
  CHECK(view.values == sample.values);
  CHECK(view.coords[4 * 5 + 3] == Approx(1.5 * 8 / 32));
  CHECK(view.grid[2 * 5] == 1);
  CHECK(view.grid[2 * 5 + 1] == 1);
  CHECK(view.keep.size() == 6);
  CHECK(recipe.make(sample, {0, 0, 1})[0].keep == view.keep);
  CHECK(recipe.make(sample, {0, 1, 1})[0].keep != view.keep);
  // Overlapping ones begin 8 - 3 samples apart: 5 of 32.
  const auto over = PatchRecipe({8, MaskMode::kRandom, 0.5, 2, 30, false, 3}).make(sample, {0, 0, 1})[0];
  REQUIRE(over.count == 15);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t t = 0; t < 5; ++t) {
      const auto* patch = over.values.data() + 8 * (5 * c + t);
      CHECK(std::equal(patch, patch + 8, sample.values.begin() + static_cast<std::ptrdiff_t>(32 * c + 5 * t)));
      CHECK(over.coords[4 * (5 * c + t) + 3] == Approx((5.0 * static_cast<double>(t) + 4) / 32));
    }
  CHECK_THROWS_AS(PatchRecipe({8, MaskMode::kRandom, 0.5, 2, 30, false, 8}), ValueError);
  CHECK_THROWS_AS(PatchRecipe({8, MaskMode::kRandom, 0.5, 2, 30, false, -1}), ValueError);
  // What does not fill a patch at the end is left out.
  CHECK(PatchRecipe({10, MaskMode::kNone, 0, 1}).make(sample, {})[0].values.size() == 90);
  CHECK_THROWS_AS(PatchRecipe({64, MaskMode::kNone, 0, 1}).make(sample, {}), ValueError);
  CHECK_THROWS_AS(PatchRecipe({1, MaskMode::kNone, 0, 1}), ValueError);
  CHECK_THROWS_AS(PatchRecipe({8, MaskMode::kRandom, 1, 1}), ValueError);
}

TEST_CASE("multi-block masks see channels by their place, not by their order in the file") {
  Sample sample;
  sample.shape = {8, 64};
  sample.values.assign(8 * 64, 1);
  sample.space.sfreq = 32;
  for (int c = 0; c < 8; ++c) sample.space.positions.push_back({static_cast<float>(c % 2), static_cast<float>(-c), 0});
  sample.space.extra.assign(8, -1);
  Sample turned = sample;
  std::reverse(turned.space.positions.begin(), turned.space.positions.end());
  for (const auto mode : {MaskMode::kMultiblock, MaskMode::kMultiblockExact}) {
    const PatchRecipe recipe({8, mode, 0, 0});
    const auto view = recipe.make(sample, {3, 0, 5, 1})[0], other = recipe.make(turned, {3, 0, 5, 1})[0];
    REQUIRE(view.blocks == 4);
    REQUIRE(view.masked.size() % 4 == 0);
    REQUIRE(view.masked.size() == other.masked.size());
    for (std::size_t i = 0; i < view.masked.size(); ++i) {
      CHECK(view.masked[i] / 8 == 7 - other.masked[i] / 8);
      CHECK(view.masked[i] % 8 == other.masked[i] % 8);
    }
    CHECK(recipe.make(sample, {3, 0, 6, 1})[0].masked.size() == view.masked.size());  // one size a batch
    CHECK(recipe.make(sample, {3, 0, 6, 1})[0].masked != view.masked);
  }
}
