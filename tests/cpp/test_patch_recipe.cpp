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
  // What does not fill a patch at the end is left out.
  CHECK(PatchRecipe({10, MaskMode::kNone, 0, 1}).make(sample, {})[0].values.size() == 90);
  CHECK_THROWS_AS(PatchRecipe({64, MaskMode::kNone, 0, 1}).make(sample, {}), ValueError);
  CHECK_THROWS_AS(PatchRecipe({1, MaskMode::kNone, 0, 1}), ValueError);
  CHECK_THROWS_AS(PatchRecipe({8, MaskMode::kRandom, 1, 1}), ValueError);
}
