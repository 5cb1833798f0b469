#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "core/error.h"
#include "data/grid_recipe.h"
#include "toy/ramp_source.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {

const Patches& cubes_of(const View& view) { return std::get<Patches>(view.content); }
const Dense& dense_of(const View& view) { return std::get<Dense>(view.content); }
const std::vector<float>& floats_of(const View& view) {
  if (std::holds_alternative<Dense>(view.content)) return std::get<std::vector<float>>(dense_of(view).values);
  return std::get<std::vector<float>>(cubes_of(view).values);
}

GridView crops(std::vector<std::int64_t> patch = {}) {
  GridView view;
  view.patch = std::move(patch);
  view.crop = {4, 6, 4};
  view.p_flip = {0.5, 0.5, 0.5};
  return view;
}

// A ramp [depth, height, width, channels], channel c is the cell's number + 1,000 c.
Sample ramp_of(std::vector<std::int64_t> shape, std::int64_t channels) {
  auto sample = toy::RampSource(1, std::move(shape)).sample(0, {});
  auto& array = sample.arrays[0];
  const auto cells = std::get<LabelMap>(sample.targets.at("cells")).classes;
  std::vector<float> values;
  for (const auto cell : cells)
    for (std::int64_t c = 0; c < channels; ++c) values.push_back(static_cast<float>(cell + 1000 * c));
  array.values = std::move(values);
  array.shape.back() = channels;
  return sample;
}

}  // namespace

TEST_CASE("a dense view's label map is its array's, whatever was cropped and flipped") {
  const toy::RampSource source(2, {6, 7, 8});
  const GridRecipe recipe({crops()});
  std::set<std::int32_t> corners;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto odd = static_cast<std::int64_t>(i % 2);
    const auto views = recipe.make(source.sample(odd, {}), {1, 0, i});
    REQUIRE(views.size() == 1);
    const auto& dense = dense_of(views[0]);
    REQUIRE(dense.modality == "ramps");
    REQUIRE(dense.shape == std::vector<std::int64_t>{1, 4, 6, 4});
    REQUIRE(dense.spacing == std::vector<double>{2, 1, 0.5});
    REQUIRE(views[0].targets.size() == 1);  // "falls" is the batch's
    const auto& map = std::get<LabelMap>(views[0].targets.at("cells"));
    REQUIRE(map.shape == std::vector<std::int64_t>{4, 6, 4});
    const auto& values = floats_of(views[0]);
    REQUIRE(values.size() == map.classes.size());
    for (std::size_t cell = 0; cell < values.size(); ++cell)
      REQUIRE(256 * values[cell] == static_cast<float>(odd == 0 ? map.classes[cell] : -map.classes[cell]));
    corners.insert(map.classes[0]);
  }
  CHECK(corners.size() > 20);  // of 3 · 2 · 5 places and 8 mirrors
}

TEST_CASE("patches are (p…, c), row by row, each with its cell and its place in mm") {
  GridView view;
  view.patch = {2, 3, 4};
  view.crop = {4, 6, 8};
  view.random = false;
  const GridRecipe recipe({view});
  const auto views = recipe.make(ramp_of({6, 7, 8}, 2), {});
  const auto& patches = cubes_of(views.at(0));
  const auto& values = floats_of(views[0]);
  CHECK(patches.key == EmbeddingKey{"ramps", {2, 3, 4}, 2});
  CHECK(patches.count == 8);
  CHECK(patches.extent == std::vector<std::int32_t>{2, 2, 2});
  CHECK(patches.extra.empty());
  REQUIRE(values.size() == 8 * 48);
  std::size_t at = 0, row = 0;
  for (std::int32_t gz = 0; gz < 2; ++gz)
    for (std::int32_t gy = 0; gy < 2; ++gy)
      for (std::int32_t gx = 0; gx < 2; ++gx, ++row) {
        CHECK(std::vector<std::int32_t>(patches.grid.begin() + static_cast<std::ptrdiff_t>(3 * row),
                                        patches.grid.begin() + static_cast<std::ptrdiff_t>(3 * row + 3)) == std::vector<std::int32_t>{gz, gy, gx});
        // Cells count from the crop's corner (1, 0, 0); spacing 2, 1, .5 mm from 0, 10, 20 mm.
        CHECK(patches.coords[4 * row] == Approx(20 + 0.5 * (4 * gx + 2)));
        CHECK(patches.coords[4 * row + 1] == Approx(10 + 3 * gy + 1.5));
        CHECK(patches.coords[4 * row + 2] == Approx(2 * (1 + 2 * gz + 1)));
        CHECK(patches.coords[4 * row + 3] == 0);
        for (std::int32_t z = 0; z < 2; ++z)
          for (std::int32_t y = 0; y < 3; ++y)
            for (std::int32_t x = 0; x < 4; ++x)
              for (std::int32_t c = 0; c < 2; ++c, ++at)
                REQUIRE(values[at] == static_cast<float>(((1 + 2 * gz + z) * 7 + 3 * gy + y) * 8 + 4 * gx + x + 1000 * c));
      }
}

TEST_CASE("patches follow crops and flips with their places, as a label map does") {
  const toy::RampSource source(1, {6, 7, 8});
  const GridRecipe recipe({crops({2, 3, 2})});
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto view = recipe.make(source.sample(0, {}), {1, 0, i})[0];
    const auto& patches = cubes_of(view);
    const auto& map = std::get<LabelMap>(view.targets.at("cells")).classes;
    REQUIRE(patches.count == 8);
    for (std::size_t n = 0; n < 8; ++n) {
      double z = 0, y = 0, x = 0;
      for (std::size_t k = 0; k < 12; ++k) {
        const auto cell = static_cast<std::int32_t>(256 * floats_of(view)[12 * n + k]);
        // Where the patch's cell is in the view's label map.
        const auto dz = static_cast<std::size_t>(patches.grid[3 * n]) * 2 + k / 6, dy = static_cast<std::size_t>(patches.grid[3 * n + 1]) * 3 + k / 2 % 3,
                   dx = static_cast<std::size_t>(patches.grid[3 * n + 2]) * 2 + k % 2;
        REQUIRE(map[(dz * 6 + dy) * 4 + dx] == cell);
        z += (cell / 56 + 0.5) / 12, y += (cell / 8 % 7 + 0.5) / 12, x += (cell % 8 + 0.5) / 12;
      }
      REQUIRE(patches.coords[4 * n] == Approx(20 + 0.5 * x));
      REQUIRE(patches.coords[4 * n + 1] == Approx(10 + y));
      REQUIRE(patches.coords[4 * n + 2] == Approx(2 * z));
    }
  }
}

TEST_CASE("rank 1 and 2 are grids too, and a place of unknown scale is not known") {
  Sample signal;
  signal.arrays.push_back({"signals", {6, 2}, std::vector<float>{0, 10, 1, 11, 2, 12, 3, 13, 4, 14, 5, 15}, GridSpace{{0}, {0}}});
  GridView view;
  view.patch = {3};
  const auto patches = cubes_of(GridRecipe({view}).make(signal, {})[0]);
  CHECK(patches.grid == std::vector<std::int32_t>{0, 1});
  CHECK(std::get<std::vector<float>>(patches.values) == std::get<std::vector<float>>(signal.arrays[0].values));
  CHECK(std::isnan(patches.coords[0]));
  CHECK(patches.coords[1] == 0);
  // Channels first where the view is dense; bytes stay bytes.
  view.patch = {};
  const auto dense = dense_of(GridRecipe({view}).make(signal, {})[0]);
  CHECK(dense.shape == std::vector<std::int64_t>{2, 6});
  CHECK(std::get<std::vector<float>>(dense.values) == std::vector<float>{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15});
  Sample picture;
  picture.arrays.push_back({"pictures", {2, 2, 1}, std::vector<std::uint8_t>{1, 2, 3, 4}, GridSpace{{1, 1}, {0, 0}}});
  view.p_flip = {0, 1};
  CHECK(std::get<std::vector<std::uint8_t>>(dense_of(GridRecipe({view}).make(picture, {})[0]).values) == std::vector<std::uint8_t>{2, 1, 4, 3});
}

TEST_CASE("several views have their roles, numbers and masks") {
  auto global = crops({2, 3, 2}), local = crops({2, 3, 2});
  global.role = "global", global.count = 2, global.mask = {masking::Mode::kRandom, 0.5};
  local.role = "local", local.count = 3, local.crop = {2, 3, 4};
  const GridRecipe recipe({global, local});
  const toy::RampSource source(2, {6, 7, 8});
  const auto views = recipe.make(source.sample(0, {}), {1, 2, 3});
  REQUIRE(views.size() == 5);
  const std::vector<std::string> roles{"global", "global", "local", "local", "local"};
  const std::vector<std::int32_t> numbers{0, 1, 0, 1, 2};
  std::set<std::vector<std::int32_t>> masks;
  int differ = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(views[i].role == roles[i]);
    CHECK(views[i].number == numbers[i]);
    CHECK(views[i].mask.has_value() == (i < 2));
    CHECK(cubes_of(views[i]).extent == (i < 2 ? std::vector<std::int32_t>{2, 2, 2} : std::vector<std::int32_t>{1, 1, 2}));
    if (i > 0) differ += floats_of(views[i]) != floats_of(views[i - 1]) ? 1 : 0;
  }
  CHECK(differ >= 3);
  // Eight cells have 70 masks: over a few draws the views' masks cannot agree by chance.
  int own = 0;
  for (std::uint64_t i = 0; i < 8; ++i) {
    const auto drawn = recipe.make(source.sample(0, {}), {1, 2, i});
    REQUIRE(drawn[0].mask->visible.size() == 4);
    own += drawn[0].mask->visible != drawn[1].mask->visible ? 1 : 0;
  }
  CHECK(own >= 5);
  // The same draw gives the same bits.
  const auto again = recipe.make(source.sample(0, {}), {1, 2, 3});
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(floats_of(again[i]) == floats_of(views[i]));
    CHECK(cubes_of(again[i]).coords == cubes_of(views[i]).coords);
    CHECK(std::get<LabelMap>(again[i].targets.at("cells")).classes == std::get<LabelMap>(views[i].targets.at("cells")).classes);
    if (i < 2) CHECK(again[i].mask->masked == views[i].mask->masked);
  }
  CHECK(floats_of(recipe.make(source.sample(0, {}), {1, 2, 4})[0]) != floats_of(views[0]));
  CHECK(floats_of(recipe.make(source.sample(0, {}), {1, 3, 3})[0]) != floats_of(views[0]));
}

TEST_CASE("a complementary view is the same view with the other half seen") {
  auto view = crops({2, 3, 2});
  view.count = 2;
  view.mask = {masking::Mode::kRandom, 0.5};
  view.mask.complementary = true;
  const auto views = GridRecipe({view}).make(toy::RampSource(1, {6, 7, 8}).sample(0, {}), {1, 2, 3});
  REQUIRE(views.size() == 4);
  for (std::size_t i = 0; i < 4; i += 2) {
    CHECK(views[i].number == static_cast<std::int32_t>(i / 2));
    CHECK(views[i + 1].number == static_cast<std::int32_t>(i / 2));
    CHECK(floats_of(views[i]) == floats_of(views[i + 1]));
    CHECK(views[i].mask->visible == views[i + 1].mask->masked);
    CHECK(views[i].mask->masked == views[i + 1].mask->visible);
  }
}

TEST_CASE("dense views are masked by cells of their own") {
  GridView view;
  view.crop = {5, 7, 8};
  view.mask = {masking::Mode::kRandom, 0.5};
  view.mask_cell = {2, 7, 3};  // what does not fill a cell is one: 3 · 1 · 3
  const auto views = GridRecipe({view}).make(toy::RampSource(1, {6, 7, 8}).sample(0, {}), {1, 2, 3});
  std::vector<std::int32_t> all(views[0].mask->visible);
  all.insert(all.end(), views[0].mask->masked.begin(), views[0].mask->masked.end());
  std::sort(all.begin(), all.end());
  CHECK(all == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});
  view.mask = {masking::Mode::kTime, 0.34, 1};
  const auto last = GridRecipe({view}).make(toy::RampSource(1, {6, 7, 8}).sample(0, {}), {1, 2, 3});
  std::set<std::int32_t> steps;
  for (const auto cell : last[0].mask->masked) steps.insert(cell % 3);
  CHECK(steps.size() == 2);  // 4 of 9 cells, 3 a step: one whole and a part of another
}

TEST_CASE("what a grid recipe cannot do is refused, each with the name of its parameter") {
  using Catch::Contains;
  const auto refused = [](const auto& change, const std::string& name) {
    GridView view;
    change(view);
    CHECK_THROWS_WITH(GridRecipe({view}), Contains("GridRecipe: view 'tokens'") && Contains(name));
    CHECK_THROWS_AS(GridRecipe({view}), ValueError);
  };
  CHECK_THROWS_WITH(GridRecipe({}), Contains("GridRecipe: views"));
  refused([](GridView& view) { view.count = 0; }, "count=0");
  refused([](GridView& view) { view.patch = {4, 0, 4}; }, "patch");
  refused([](GridView& view) { view.crop = {-4}; }, "crop");
  refused([](GridView& view) { view.mask_cell = {0}; }, "mask_cell");
  refused([](GridView& view) { view.p_flip = {0.5, 1.5}; }, "p_flip=1.5");
  refused([](GridView& view) { view.p_flip = {std::nan("")}; }, "p_flip=nan");
  refused([](GridView& view) { view.mask = {masking::Mode::kRandom, 1}; }, "ratio=1");
  refused([](GridView& view) { view.patch = {2}, view.mask = {masking::Mode::kSpace, 0.5}; }, "mask='space'");
  refused([](GridView& view) { view.mask = {masking::Mode::kRandom, 0.5}; }, "mask_cell");
  const toy::RampSource source(1, {6, 7, 8});
  const auto fails = [&](const auto& change, const std::string& name) {
    GridView view;
    change(view);
    CHECK_THROWS_WITH(GridRecipe({view}).make(source.sample(0, {}), {}), Contains("GridRecipe: ") && Contains(name));
  };
  fails([](GridView& view) { view.patch = {4, 4}; }, "patch has 2 axes, expected the 3");
  fails([](GridView& view) { view.crop = {4}; }, "crop has 1 axes");
  fails([](GridView& view) { view.p_flip = {0.5}; }, "p_flip has 1 axes");
  fails([](GridView& view) { view.mask = {masking::Mode::kRandom, 0.5}, view.mask_cell = {2, 2, 2, 2}; }, "mask_cell has 4 axes");
  fails([](GridView& view) { view.crop = {6, 8, 8}; }, "crop=8 cells is larger than the sample's 7 of axis 1");
  fails([](GridView& view) { view.patch = {2, 2, 2}; }, "patch=2 cells does not divide the view's 7 of axis 1");
  const GridRecipe recipe({GridView{}});
  CHECK_THROWS_WITH(recipe.make(Sample{}, {}), Contains("one array, got 0"));
  auto sample = source.sample(0, {});
  std::get<std::vector<float>>(sample.arrays[0].values).pop_back();
  CHECK_THROWS_WITH(recipe.make(sample, {}), Contains("do not fill its shape"));
  sample = source.sample(0, {});
  sample.arrays[0].space = ChannelSpace{};
  CHECK_THROWS_WITH(recipe.make(sample, {}), Contains("on a grid"));
}
