#include "catch.h"
#include "core/error.h"
#include "data/batch.h"
#include "small.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {

// Views of one sample, as a recipe would make them.
View patch_view(const std::string& role, std::int32_t number, const std::string& modality, std::int32_t side, float value, bool masked = false) {
  Patches patches;
  patches.key = {modality, {2, 2, 2}, 1};
  patches.count = side * side * side;
  patches.values = std::vector<float>(static_cast<std::size_t>(8 * patches.count), value);
  patches.coords.assign(static_cast<std::size_t>(4 * patches.count), value);
  for (std::int32_t z = 0; z < side; ++z)
    for (std::int32_t y = 0; y < side; ++y)
      for (std::int32_t x = 0; x < side; ++x) patches.grid.insert(patches.grid.end(), {z, y, x});
  patches.extent = {side, side, side};
  View view;
  view.role = role;
  view.number = number;
  view.content = std::move(patches);
  if (masked) view.mask = masking::random_mask(side * side * side, 1, {});
  return view;
}

View dense_view(const std::string& modality, std::vector<std::int64_t> shape, float value) {
  std::int64_t cells = 1;
  for (const auto extent : shape) cells *= extent;
  View view;
  view.role = "global";
  const auto rank = shape.size() - 1;
  view.content = Dense{modality, std::move(shape), std::vector<float>(static_cast<std::size_t>(cells), value), std::vector<double>(rank, 0.5 * value)};
  return view;
}

std::vector<std::vector<View>> samples_of(std::vector<View> a, std::vector<View> b = {}) {
  std::vector<std::vector<View>> out;
  out.push_back(std::move(a));
  if (!b.empty()) out.push_back(std::move(b));
  return out;
}

Batch assembled(std::vector<std::vector<View>> views) {
  std::vector<std::int64_t> ids;
  for (std::size_t i = 0; i < views.size(); ++i) ids.push_back(static_cast<std::int64_t>(i));
  return assemble(0, std::move(ids), std::move(views), *BufferPool::make(2));
}

}  // namespace

TEST_CASE("a missing sample leaves its place empty; rows know their sample") {
  const testing::FakeSource source(4);
  const auto recipe = testing::eeg_recipe();
  std::vector<std::vector<View>> views(4);
  for (const std::int64_t i : {0, 2, 3}) views[static_cast<std::size_t>(i)] = recipe->make(source.sample(i, {}), {});
  const auto batch = assemble(7, {0, -1, 2, 3}, std::move(views), *BufferPool::make(2));
  CHECK(batch.samples() == 3);
  REQUIRE(batch.views.size() == 1);
  const auto& view = batch.views[0];
  const auto& patches = view.patches("test");
  CHECK(view.slots == std::vector<std::int64_t>{0, 2, 3});  // two channels, two channels, three
  CHECK(patches.lengths == std::vector<std::int64_t>{8, 8, 12});
  CHECK(patches.values.size(0) == 28);
  REQUIRE(view.mask.has_value());
  CHECK(view.mask->visible.numel() + view.mask->masked.numel() == 28);
  const auto rows = std::get<0>(at::cat({view.mask->visible, view.mask->masked}).sort());
  CHECK(at::equal(rows, at::arange(28)));
  CHECK(assemble(0, {-1}, std::vector<std::vector<View>>(1), *BufferPool::make(2)).views.empty());
}

TEST_CASE("views are batched by role, number and embedding or shape") {
  std::vector<View> a, b;
  for (auto* views : {&a, &b}) {
    const float value = views == &a ? 1 : 2;
    views->push_back(patch_view("local", 0, "ramps", 2, value));
    views->push_back(patch_view("global", 1, "ramps", 2, 10 * value));
    views->push_back(patch_view("global", 0, "ramps", 2, 100 * value));
    views->push_back(dense_view("ramps", {1, 4, 4}, value));
  }
  b[2] = patch_view("global", 0, "others", 2, 200);  // the same role and number, another embedding
  b[3] = dense_view("ramps", {1, 4, 6}, 2);          // or another shape
  const auto batch = assembled(samples_of(std::move(a), std::move(b)));
  REQUIRE(batch.views.size() == 6);
  std::vector<std::string> seen;
  for (const auto& view : batch.views) {
    const bool dense = std::holds_alternative<StackedDense>(view.content);
    std::string slots;
    for (const auto slot : view.slots) slots += std::to_string(slot);
    seen.push_back(view.role + std::to_string(view.number) + (dense ? " dense " : " " + view.patches("test").key.modality + " ") + slots);
  }
  CHECK(seen == std::vector<std::string>{"global0 others 1", "global0 ramps 0", "global0 dense 0", "global0 dense 1", "global1 ramps 01", "local0 ramps 01"});
  const auto& one = batch.views[4].patches("test");
  CHECK(one.values.narrow(0, 0, 8).eq(10).all().item<bool>());
  CHECK(one.values.narrow(0, 8, 8).eq(20).all().item<bool>());
}

TEST_CASE("grids of any rank and their whole extents come along, sequence by sequence") {
  std::vector<std::vector<View>> views;
  views.push_back({});
  views[0].push_back(patch_view("tokens", 0, "ramps", 3, 1));
  views.push_back({});
  views[1].push_back(patch_view("tokens", 0, "ramps", 2, 2));
  const auto batch = assembled(std::move(views));
  REQUIRE(batch.views.size() == 1);
  const auto& view = batch.views[0];
  const auto& patches = view.patches("test");
  CHECK(view.slots == std::vector<std::int64_t>{1, 0});  // the shorter first
  CHECK(patches.lengths == Lengths{8, 27});
  CHECK(patches.key == EmbeddingKey{"ramps", {2, 2, 2}, 1});
  CHECK(patches.grid.sizes() == at::IntArrayRef({35, 3}));
  CHECK(at::equal(patches.grid[5], at::tensor({1, 0, 1}, at::kInt)));
  CHECK(at::equal(patches.grid[8 + 26], at::tensor({2, 2, 2}, at::kInt)));
  CHECK(at::equal(patches.extents, at::tensor({2, 2, 2, 3, 3, 3}, at::kInt).view({2, 3})));
  CHECK_FALSE(patches.extra.defined());  // a grid has no channels without a place
  CHECK_FALSE(view.mask.has_value());
  CHECK_THROWS_WITH(view.masks("mae"), Catch::Contains("mae: needs views with a mask"));
  CHECK_THROWS_WITH(view.dense("segment"), Catch::Contains("segment: needs dense views"));
}

TEST_CASE("dense arrays of one shape are stacked, each with its spacing") {
  std::vector<std::vector<View>> views(2);
  views[0].push_back(dense_view("ramps", {2, 3, 4, 5}, 1));
  views[1].push_back(dense_view("ramps", {2, 3, 4, 5}, 2));
  const auto batch = assembled(std::move(views));
  REQUIRE(batch.views.size() == 1);
  const auto& dense = batch.views[0].dense("test");
  CHECK(dense.modality == "ramps");
  CHECK(dense.values.sizes() == at::IntArrayRef({2, 2, 3, 4, 5}));
  CHECK(dense.values[0].eq(1).all().item<bool>());
  CHECK(dense.values[1].eq(2).all().item<bool>());
  CHECK(at::equal(dense.spacing, at::tensor({0.5, 0.5, 0.5, 1.0, 1.0, 1.0}, at::kDouble).view({2, 3})));
  CHECK(batch.views[0].to(at::kCPU, at::kDouble).dense("test").values.scalar_type() == at::kDouble);
  CHECK_THROWS_WITH(batch.views[0].patches("mae"), Catch::Contains("mae: needs views of patches"));
}

TEST_CASE("masks of dense views count the cells of their own grid, view after view") {
  const toy::RampSource source(2);
  GridView how;
  how.mask = {masking::Mode::kRandom, 0.5};
  how.mask_cell = {4, 4, 2};
  const GridRecipe recipe({how});
  const auto batch = testing::batch_of({{&source, &recipe}}, 2);
  REQUIRE(batch.views.size() == 1);
  const auto& mask = batch.views[0].masks("test");
  CHECK(mask.visible_lengths == Lengths{8, 8});
  CHECK(mask.masked_lengths == Lengths{8, 8});
  CHECK(at::equal(std::get<0>(at::cat({mask.visible, mask.masked}).sort()), at::arange(32)));
  CHECK(mask.visible.narrow(0, 0, 8).lt(16).all().item<bool>());
  CHECK(mask.visible.narrow(0, 8, 8).ge(16).all().item<bool>());
}

TEST_CASE("targets with places are the views', numbers are the batch's") {
  std::vector<std::vector<View>> views(2);
  for (std::size_t slot = 0; slot < 2; ++slot) {
    // The first sample's view is longer, so that the views change places.
    auto view = patch_view("tokens", 0, "ramps", slot == 0 ? 2 : 1, 1);
    const auto label = static_cast<std::int32_t>(slot);
    view.targets["map"] = LabelMap{{2, 2}, {label, label, kUnlabeled, label}};
    Points points{2, {}, {}};
    for (std::int32_t i = 0; i <= label; ++i) {
      points.places.insert(points.places.end(), {0.5f, 1.5f});
      points.classes.push_back(7 + i);
    }
    view.targets["points"] = points;
    view.targets["boxes"] = Boxes{2, {0, 1, 2, 3}, {4}};
    view.targets["number"] = 3.0;
    views[slot].push_back(std::move(view));
  }
  const std::vector<Targets> numbers{{{"age", 40.0}}, {{"age", 50.0}, {"weight", 70.0}}};
  const auto batch = assemble(0, {5, 6}, std::move(views), *BufferPool::make(2), numbers);
  REQUIRE(batch.views.size() == 1);
  const auto& view = batch.views[0];
  REQUIRE(view.slots == std::vector<std::int64_t>{1, 0});
  REQUIRE(view.targets.size() == 3);  // the number is none of them
  CHECK(at::equal(view.targets.at("map")[0], at::tensor({1, 1, -1, 1}, at::kInt).view({2, 2})));
  CHECK(at::equal(view.targets.at("map")[1], at::tensor({0, 0, -1, 0}, at::kInt).view({2, 2})));
  CHECK(at::equal(view.targets.at("points")[0], at::tensor({0.5, 1.5, 7.0, 0.5, 1.5, 8.0}, at::kFloat).view({2, 3})));
  CHECK(view.targets.at("points")[1].sizes() == at::IntArrayRef({1, 3}));
  CHECK(at::equal(view.targets.at("boxes")[0], at::tensor({0., 1., 2., 3., 4.}, at::kFloat).view({1, 5})));
  REQUIRE(batch.targets.size() == 2);
  CHECK(at::equal(batch.targets.at("age"), at::tensor({40.0, 50.0}, at::kDouble)));  // in the order of the samples
  CHECK(std::isnan(batch.targets.at("weight")[0].item<double>()));
  CHECK(batch.targets.at("weight")[1].item<double>() == 70);
  auto lonely = patch_view("tokens", 0, "ramps", 2, 1);
  lonely.targets["map"] = LabelMap{{1}, {0}};
  std::vector<View> other;
  other.push_back(patch_view("tokens", 0, "ramps", 2, 1));
  std::vector<View> with;
  with.push_back(std::move(lonely));
  CHECK_THROWS_WITH(assembled(samples_of(std::move(with), std::move(other))), Catch::Contains("target 'map'"));
}

TEST_CASE("several modalities lie in one batch, each as it would alone") {
  const testing::FakeSource signals(3);
  const toy::RampSource ramps(3);
  const auto eeg = testing::eeg_recipe();
  const auto grid = testing::ramp_recipe();
  const auto both = testing::batch_of({{&signals, eeg.get()}, {&ramps, grid.get()}}, 3);
  REQUIRE(both.views.size() == 2);
  CHECK(both.views[0].slots == std::vector<std::int64_t>{0, 2, 1});
  CHECK(both.views[1].slots == std::vector<std::int64_t>{3, 4, 5});
  const auto alone = testing::batch_of({{&signals, eeg.get()}}, 3);
  const auto &first = both.views[0].patches("test"), &same = alone.views[0].patches("test"), &second = both.views[1].patches("test");
  CHECK(at::equal(first.values, same.values));
  CHECK(at::equal(both.views[0].mask->visible, alone.views[0].mask->visible));
  CHECK(second.key == EmbeddingKey{"ramps", {4, 4, 4}, 1});
  CHECK(second.values.sizes() == at::IntArrayRef({24, 64}));
}

TEST_CASE("a mask in some views of a kind only is refused") {
  for (const bool first : {true, false}) {
    std::vector<View> a, b;
    a.push_back(patch_view("tokens", 0, "ramps", 2, 1, first));
    b.push_back(patch_view("tokens", 0, "ramps", 2, 1, !first));
    CHECK_THROWS_WITH(assembled(samples_of(std::move(a), std::move(b))), Catch::Contains("role 'tokens'") && Catch::Contains("mask"));
  }
  // Views of other numbers may have none.
  std::vector<View> a;
  a.push_back(patch_view("tokens", 0, "ramps", 2, 1, true));
  a.push_back(patch_view("tokens", 1, "ramps", 2, 1, false));
  const auto batch = assembled(samples_of(std::move(a)));
  CHECK(batch.views[0].mask.has_value());
  CHECK_FALSE(batch.views[1].mask.has_value());
}

TEST_CASE("a batch of samples that are all left whole has masks that hide nothing") {
  auto a = patch_view("global", 0, "volumes", 2, 1), b = patch_view("global", 0, "volumes", 2, 2);
  a.mask = masking::all_visible(8);
  b.mask = masking::all_visible(8);
  const auto batch = assembled(samples_of({a}, {b}));
  const auto& mask = batch.views.at(0).masks("test");
  CHECK(mask.visible.numel() == 16);
  CHECK(mask.masked.numel() == 0);
  CHECK(mask.masked_lengths == std::vector<std::int64_t>{0, 0});
  CHECK(mask.visible_lengths == std::vector<std::int64_t>{8, 8});
}
