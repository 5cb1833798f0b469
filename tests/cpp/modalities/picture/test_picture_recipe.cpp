#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "core/error.h"
#include "modalities/picture/picture_recipe.h"

using namespace sslmed;
using namespace sslmed::picture;

namespace {

// Every pixel has a colour of its own.
data::Sample picture_of(std::int64_t width, std::int64_t height) {
  std::vector<std::uint8_t> pixels;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (const auto value : {x, y, std::int64_t{7}}) pixels.push_back(static_cast<std::uint8_t>(value));
  data::Sample sample;
  sample.arrays.push_back({"slides", {height, width, 3}, std::move(pixels), data::GridSpace{{0.5, 0.5}, {20, 10}}});
  return sample;
}

const data::Patches& squares(const data::View& view) { return std::get<data::Patches>(view.content); }
const std::vector<std::uint8_t>& pixels(const data::View& view) { return std::get<std::vector<std::uint8_t>>(squares(view).values); }

masking::MaskOptions masked(masking::Mode mode, double ratio, bool complementary = false) {
  masking::MaskOptions options{mode, ratio};
  options.complementary = complementary;
  return options;
}

PictureView tokens(std::int64_t size, const transforms::Augmentation& how = {}, const masking::MaskOptions& mask = {}) {
  return {"tokens", 1, {size}, how, false, mask};
}

PictureView several(const std::string& role, std::int64_t count, std::int64_t size, const transforms::Augmentation& how = {},
                    const masking::MaskOptions& mask = {}) {
  return {role, count, {size}, how, false, mask};
}

}  // namespace

TEST_CASE("a picture is cut into squares, row by row, each with its place") {
  const PictureRecipe recipe({4, {tokens(8)}});
  const auto views = recipe.make(picture_of(8, 8), {});
  REQUIRE(views.size() == 1);
  const auto& view = squares(views[0]);
  CHECK(view.count == 4);
  CHECK(view.key.values() == 48);
  CHECK(view.key == EmbeddingKey{"slides", {4, 4}, 3});
  CHECK(view.grid == std::vector<std::int32_t>{0, 0, 0, 1, 1, 0, 1, 1});
  CHECK(view.extent == std::vector<std::int32_t>{2, 2});
  CHECK_FALSE(views[0].mask.has_value());
  CHECK(pixels(views[0])[0] == 0);
  CHECK(pixels(views[0])[48] == 4);          // the second square starts at x = 4
  CHECK(pixels(views[0])[2 * 48 + 1] == 4);  // the third at y = 4
  CHECK(pixels(views[0])[48 + 12] == 4);     // its second row
  CHECK(view.coords[4] == Approx(13));       // mm: 10 + 6 · .5
  CHECK(view.coords[9] == Approx(23));
}

TEST_CASE("what flips and turns move, coordinates follow") {
  transforms::Augmentation how;
  how.flips = how.turns = true;
  const PictureRecipe recipe({2, {tokens(8, how)}});
  int moved = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto view = recipe.make(picture_of(12, 10), {3, 0, i})[0];
    const auto& own = pixels(view);
    const auto& coords = squares(view).coords;
    for (std::size_t n = 0; n < 16; ++n) {
      // The mean of a square's own pixels says where it came from.
      double x = 0, y = 0;
      for (std::size_t k = 0; k < 4; ++k) x += own[12 * n + 3 * k] / 4.0, y += own[12 * n + 3 * k + 1] / 4.0;
      REQUIRE(coords[4 * n] == Approx(10 + 0.5 * (x + 0.5)));
      REQUIRE(coords[4 * n + 1] == Approx(20 + 0.5 * (y + 0.5)));
    }
    moved += own[0] > own[12] ? 1 : 0;
  }
  CHECK(moved > 0);
}

TEST_CASE("a label map of a picture moves with its pixels") {
  transforms::Augmentation how;
  how.flips = how.turns = true;
  const PictureRecipe recipe({8, {tokens(8, how)}});
  auto sample = picture_of(12, 10);
  data::LabelMap map{{10, 12}, {}};
  for (std::int32_t y = 0; y < 10; ++y)
    for (std::int32_t x = 0; x < 12; ++x) map.classes.push_back(100 * y + x);
  sample.targets["cells"] = map;
  sample.targets["age"] = 40.0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto view = recipe.make(sample, {3, 0, i})[0];
    REQUIRE(view.targets.size() == 1);  // numbers are the batch's
    const auto& moved = std::get<data::LabelMap>(view.targets.at("cells"));
    REQUIRE(moved.shape == std::vector<std::int64_t>{8, 8});
    for (std::size_t cell = 0; cell < 64; ++cell)  // one square holds the view's pixels row by row
      REQUIRE(moved.classes[cell] == 100 * pixels(view)[3 * cell + 1] + pixels(view)[3 * cell]);
  }
}

TEST_CASE("one draw makes the same views again, and several of one picture differ") {
  transforms::Augmentation how{0.2, 0.6};
  how.flips = true;
  how.hed = how.brightness = how.contrast = how.saturation = how.hue = 0.1;
  how.grey = how.blur = how.solarise = 0.5;
  const PictureRecipe recipe({8, {several("global", 2, 32, how), several("local", 3, 16, how)}});
  const auto views = recipe.make(picture_of(64, 48), {1, 2, 3}), again = recipe.make(picture_of(64, 48), {1, 2, 3});
  REQUIRE(views.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(pixels(views[i]) == pixels(again[i]));
  CHECK(pixels(views[0]) != pixels(views[1]));
  CHECK(pixels(views[2]) != pixels(views[3]));
  CHECK(views[1].number == 1);
  CHECK(views[2].role == "local");
  CHECK(views[4].number == 2);
  CHECK(pixels(recipe.make(picture_of(64, 48), {1, 2, 4})[0]) != pixels(views[0]));
}

TEST_CASE("squares are masked at random or in blocks") {
  using masking::Mode;
  for (const auto mode : {Mode::kRandom, Mode::kBernoulli, Mode::kMultiblock}) {
    const PictureRecipe recipe({8, {tokens(128, {}, masked(mode, 0.75))}});
    const auto view = recipe.make(picture_of(128, 128), {1, 0, 5})[0];
    REQUIRE(view.mask.has_value());
    CHECK(view.mask->blocks == (mode == Mode::kMultiblock ? 4 : 1));
    if (mode == Mode::kRandom) CHECK(view.mask->visible.size() == 64);
    CHECK(!view.mask->visible.empty());
    for (const auto kept : view.mask->visible) REQUIRE(std::find(view.mask->masked.begin(), view.mask->masked.end(), kept) == view.mask->masked.end());
  }
  const auto both = PictureRecipe({8, {tokens(32, {}, masked(Mode::kRandom, 0.5, true))}}).make(picture_of(32, 32), {});
  REQUIRE(both.size() == 2);
  CHECK(both[0].mask->visible == both[1].mask->masked);
  CHECK(both[0].mask->masked == both[1].mask->visible);
}

TEST_CASE("views of one picture have masks of their own, and one that has none has none") {
  const PictureRecipe recipe({8, {several("global", 2, 64, {}, masked(masking::Mode::kRandom, 0.75)), several("local", 2, 32)}});
  const auto views = recipe.make(picture_of(64, 64), {1, 0, 5});
  REQUIRE(views.size() == 4);
  CHECK(views[0].mask->visible != views[1].mask->visible);
  CHECK_FALSE(views[2].mask.has_value());
  // The first one's mask is that of a sample with one view.
  const auto alone = PictureRecipe({8, {several("global", 1, 64, {}, masked(masking::Mode::kRandom, 0.75))}}).make(picture_of(64, 64), {1, 0, 5});
  CHECK(alone[0].mask->visible == views[0].mask->visible);
}

TEST_CASE("a recipe of pictures that cannot be is refused") {
  using masking::Mode;
  CHECK_THROWS_AS(PictureRecipe({16, {tokens(40)}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({-1, {tokens(32)}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {several("tokens", 0, 32)}}), ValueError);
  for (const auto mode : {Mode::kTime, Mode::kChannel, Mode::kSpace})
    CHECK_THROWS_WITH(PictureRecipe({16, {tokens(32, {}, masked(mode, 0.5))}}), Catch::Contains("view 'tokens'") && Catch::Contains("mask"));
  CHECK_THROWS_WITH(PictureRecipe({16, {tokens(32, {}, masked(Mode::kRandom, 1))}}), Catch::Contains("ratio=1"));
  auto deferred = tokens(32);
  deferred.on_device = true;
  CHECK_THROWS_WITH(PictureRecipe({16, {tokens(32), deferred}}), Catch::Contains("on_device"));
  transforms::Augmentation bad;
  bad.hue = 0.7;
  CHECK_THROWS_AS(PictureRecipe({16, {tokens(32, bad)}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {tokens(32)}}).make(picture_of(16, 16), {}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {tokens(32)}}).make(data::Sample{}, {}), ValueError);
}
