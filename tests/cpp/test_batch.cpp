#include "catch.h"
#include "data/batch.h"
#include "data/patch_recipe.h"
#include "fake_source.h"

using namespace sslmed;
using namespace sslmed::data;

TEST_CASE("a missing sample leaves its place empty; rows know their sample") {
  const testing::FakeSource source(4);
  const PatchRecipe recipe({8, MaskMode::kRandom, 0.5, 2});
  std::vector<std::vector<PatchView>> views(4);
  for (const std::int64_t i : {0, 2, 3}) views[static_cast<std::size_t>(i)] = recipe.make(source.sample(i, {}), {});
  const auto batch = assemble(7, {0, -1, 2, 3}, std::move(views), *BufferPool::make(2));
  CHECK(batch.samples() == 3);
  REQUIRE(batch.patches.size() == 1);
  const auto& view = batch.patches[0];
  CHECK(view.slots == std::vector<std::int64_t>{0, 2, 3});  // two channels, two channels, three
  CHECK(view.lengths == std::vector<std::int64_t>{8, 8, 12});
  CHECK(view.values.size(0) == 28);
  CHECK(view.keep.numel() + view.masked.numel() == 28);
  const auto rows = std::get<0>(at::cat({view.keep, view.masked}).sort());
  CHECK(at::equal(rows, at::arange(28)));
  CHECK(assemble(0, {-1}, std::vector<std::vector<PatchView>>(1), *BufferPool::make(2)).patches.empty());
}
