#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <set>

#include "core/error.h"
#include "modalities/volume/volume_recipe.h"

using namespace sslmed;
using namespace sslmed::volume;

namespace {

// A session of sequences [12, 10, 9] whose values are 1000·sequence + their cell's number; anatomy is x < 6; cell (0, 0, 0) was defaced.
data::Sample session(std::size_t sequences, bool masked = true, bool defaced = false) {
  data::Sample sample;
  const std::vector<std::int64_t> shape{12, 10, 9, 1};
  data::GridSpace space{{2, 2, 2}, {-12, -10, -9}};
  for (std::size_t s = 0; s < sequences; ++s) {
    std::vector<float> values(12 * 10 * 9);
    std::iota(values.begin(), values.end(), 1000.0f * static_cast<float>(s));
    space.extra = static_cast<std::int32_t>(s);
    space.outside = -1;
    sample.arrays.push_back({"volumes", shape, values, space, "s" + std::to_string(s)});
  }
  std::vector<std::uint8_t> mask(12 * 10 * 9, 0), changed(12 * 10 * 9, 0);
  std::fill_n(mask.begin(), 6 * 10 * 9, 1);
  changed[0] = 1;
  if (masked) sample.arrays.push_back({"volumes", shape, mask, space, "mask"});
  if (defaced) sample.arrays.push_back({"volumes", shape, changed, space, "deface"});
  return sample;
}

const data::Patches& patches_of(const data::View& view) { return std::get<data::Patches>(view.content); }

VolumeRecipe cubes(VolumeView view = {}, double anatomy = 0.05) { return VolumeRecipe({{3, 3, 3}, anatomy, {std::move(view)}}); }

}  // namespace

TEST_CASE("patches of anatomy are tokens, at their places in mm") {
  const auto views = cubes().make(session(1), {});
  REQUIRE(views.size() == 1);
  const auto& patches = patches_of(views[0]);
  // 12 x 12 x 9 cells around the 10 of y make 4 x 4 x 3 patches, of which two thicknesses of x are anatomy.
  CHECK(patches.extent == std::vector<std::int32_t>{4, 4, 3});
  CHECK(patches.count == 2 * 4 * 3);
  CHECK(patches.key == EmbeddingKey{"volumes", {3, 3, 3}, 1});
  CHECK(patches.extra == std::vector<std::int32_t>(24, 0));
  const auto& values = std::get<std::vector<float>>(patches.values);
  // The first patch starts one cell before the volume along y.
  CHECK(values[0] == -1);
  CHECK(values[3] == 0);
  CHECK(values[8] == 11);
  CHECK(patches.coords[0] == Approx(-12 + 3));
  CHECK(patches.coords[1] == Approx(-10 + 2 * 0.5));
  CHECK(patches.coords[2] == Approx(-9 + 3));
  CHECK(patches.coords[3] == 0);
  CHECK(patches_of(cubes().make(session(1, false), {})[0]).count == 4 * 4 * 3);
}

TEST_CASE("a patch that was changed for anonymity is no token") { CHECK(patches_of(cubes().make(session(1, true, true), {})[0]).count == 23); }

TEST_CASE("sequences share cells, and one that is not there is absent") {
  const auto both = cubes().make(session(2), {});
  const auto& patches = patches_of(both[0]);
  CHECK(patches.count == 48);
  CHECK(std::get<std::vector<float>>(patches.values)[24 * 27 + 3] == 1000);
  CHECK(patches.extra[23] == 0);
  CHECK(patches.extra[24] == 1);
  const auto one = cubes().make(session(1), {});
  CHECK(std::equal(patches.coords.begin(), patches.coords.begin() + 96, patches_of(one[0]).coords.begin()));
}

TEST_CASE("dropped sequences leave one at least, by chance") {
  VolumeView view;
  view.p_drop = 0.5;
  std::set<std::int64_t> counts;
  for (std::uint64_t i = 0; i < 40; ++i) counts.insert(patches_of(cubes(view).make(session(2), {1, 0, i})[0]).count);
  CHECK(counts == std::set<std::int64_t>{24, 48});
}

TEST_CASE("views are cropped and flipped, and label maps follow") {
  VolumeView view;
  view.size = {6, 6, 6};
  view.random = true;
  view.spatial.p_flip = {1, 0, 0};
  auto sample = session(1, false);
  data::LabelMap map{{12, 10, 9}, {}};
  for (const auto value : std::get<std::vector<float>>(sample.arrays[0].values)) map.classes.push_back(static_cast<std::int32_t>(value));
  sample.targets["labels"] = map;
  std::set<float> firsts;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto made = cubes(view).make(sample, {1, 0, i});
    const auto& patches = patches_of(made[0]);
    REQUIRE(patches.count == 8);
    const auto& values = std::get<std::vector<float>>(patches.values);
    const auto& labels = std::get<data::LabelMap>(made[0].targets.at("labels"));
    CHECK(labels.shape == std::vector<std::int64_t>{6, 6, 6});
    CHECK(static_cast<float>(labels.classes[0]) == values[0]);
    CHECK(values[9] == values[0] - 90);  // the next cell along x lies before it
    firsts.insert(values[0]);
  }
  CHECK(firsts.size() > 5);
}

TEST_CASE("masks hide tokens by themselves, in balls, by sequence and in blocks") {
  VolumeView view;
  view.mask.ratio = 0.75;
  for (const auto mode : {masking::Mode::kRandom, masking::Mode::kSpace, masking::Mode::kBernoulli}) {
    view.mask.mode = mode;
    const auto made = cubes(view).make(session(2), {3, 0, 1});
    const auto& mask = *made[0].mask;
    CHECK(mask.visible.size() + mask.masked.size() == 48);
    if (mode != masking::Mode::kBernoulli) CHECK(mask.visible.size() == 12);
  }
  view.mask.mode = masking::Mode::kChannel;
  view.mask.ratio = 0.5;
  const auto by_sequence = *cubes(view).make(session(2), {3, 0, 1})[0].mask;
  CHECK(by_sequence.masked.back() - by_sequence.masked.front() == 23);
  view.mask.mode = masking::Mode::kMultiblock;
  const auto blocks = *cubes(view).make(session(2), {3, 0, 1})[0].mask;
  CHECK(blocks.blocks == 4);
  CHECK(blocks.masked.size() % 4 == 0);
  view.mask.mode = masking::Mode::kRandom;
  view.mask.complementary = true;
  const auto pair = cubes(view).make(session(1), {3, 0, 1});
  REQUIRE(pair.size() == 2);
  CHECK(pair[0].mask->visible == pair[1].mask->masked);
}

TEST_CASE("dense views have a channel a sequence, and one size") {
  VolumeView view;
  view.size = {6, 12, 9};
  const VolumeRecipe recipe({{}, 0, {view}});
  const auto dense = std::get<data::Dense>(recipe.make(session(2), {})[0].content);
  CHECK(dense.shape == std::vector<std::int64_t>{2, 6, 12, 9});
  const auto& values = std::get<std::vector<float>>(dense.values);
  CHECK(values[0] == -1);      // y is padded by a cell on each side
  CHECK(values[9] == 3 * 90);  // x starts at 3
  CHECK(values[6 * 12 * 9 + 9] == 1000 + 3 * 90);
}

TEST_CASE("recipes of volumes refuse what makes no views") {
  CHECK_THROWS_AS(VolumeRecipe({{4, 4}, 0, {{}}}), ValueError);
  CHECK_THROWS_AS(VolumeRecipe({{4, 4, 0}, 0, {{}}}), ValueError);
  CHECK_THROWS_AS(VolumeRecipe({{4, 4, 4}, 2, {{}}}), ValueError);
  CHECK_THROWS_AS(VolumeRecipe({{4, 4, 4}, 0, {}}), ValueError);
  CHECK_THROWS_AS(VolumeRecipe({{}, 0, {{}}}), ValueError);
  VolumeView view;
  view.p_drop = 1;
  CHECK_THROWS_AS(cubes(view), ValueError);
  view = {};
  view.count = 0;
  CHECK_THROWS_AS(cubes(view), ValueError);
  view = {};
  view.spatial.p_flip[2] = 1.5;
  CHECK_THROWS_AS(cubes(view), ValueError);
  view = {};
  view.mask.mode = masking::Mode::kTime;
  CHECK_THROWS_AS(cubes(view), ValueError);
  auto sample = session(1);
  sample.arrays[0].shape = {12, 10, 9};
  CHECK_THROWS_AS(cubes().make(sample, {}), ValueError);
  CHECK_THROWS_AS(cubes().make(session(0), {}), ValueError);
}

TEST_CASE("boxes hide the same cells of every sequence, and entries of one role are numbered on") {
  VolumeView masked;
  masked.role = "global";
  masked.mask = {masking::Mode::kBlock, 0.4};
  masked.mask.ratio_high = 0.6;
  VolumeView plain;
  plain.role = "global";
  const auto views = VolumeRecipe({{3, 3, 3}, 0.05, {masked, plain}}).make(session(2), {0, 0, 3});
  REQUIRE(views.size() == 2);
  CHECK(views[1].number == 1);
  CHECK_FALSE(views[1].mask.has_value());
  const auto& mask = *views[0].mask;
  CHECK(mask.visible.size() + mask.masked.size() == 48);
  CHECK(mask.masked.size() >= 18);
  CHECK(mask.masked.size() <= 30);
  const auto half = mask.masked.size() / 2;
  for (std::size_t i = 0; i < half; ++i) CHECK(mask.masked[i] + 24 == mask.masked[half + i]);
}

TEST_CASE("a view without a size shows a share of each axis") {
  VolumeView view;
  view.share = 0.5;
  view.random = true;
  const auto made = cubes(view).make(session(1, false), {0, 0, 3})[0];
  CHECK(patches_of(made).extent == std::vector<std::int32_t>{2, 2, 2});  // 6, 5 and 4.5 cells, as whole patches
  view.share = 0;
  CHECK_THROWS_WITH(cubes(view), Catch::Contains("share"));
}

TEST_CASE("cells of dense volumes are masked") {
  VolumeView view;
  view.size = {8, 8, 8};
  view.mask_cell = {4, 4, 4};
  view.mask = {masking::Mode::kRandom, 0.5};
  const auto made = VolumeRecipe({{}, 0, {view}}).make(session(2), {0, 0, 3})[0];
  CHECK(made.mask->visible.size() == 4);
  CHECK(made.mask->masked.size() == 4);
  view.mask_cell = {4, 3, 4};
  CHECK_THROWS_WITH(VolumeRecipe({{}, 0, {view}}), Catch::Contains("cell=3"));
  view.mask.mode = masking::Mode::kSpace;
  CHECK_THROWS_WITH(VolumeRecipe({{}, 0, {view}}), Catch::Contains("mask"));
}
