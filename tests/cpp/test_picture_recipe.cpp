#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "core/error.h"
#include "data/picture_recipe.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {

// Every pixel has a colour of its own.
Sample picture(std::int64_t width, std::int64_t height) {
  Sample sample;
  sample.shape = {height, width, 3};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (const auto value : {x, y, std::int64_t{7}}) sample.pixels.push_back(static_cast<std::uint8_t>(value));
  sample.picture = {10, 20, {0.5, 0.5}};
  return sample;
}

transforms::Augmentation still() { return {}; }

}  // namespace

TEST_CASE("a picture is cut into squares, row by row, each with its place") {
  const PictureRecipe recipe({4, {{"tokens", 1, {8}, still()}}});
  const auto views = recipe.make(picture(8, 8), {});
  REQUIRE(views.size() == 1);
  const auto& view = views[0];
  CHECK(view.count == 4);
  CHECK(view.patch == 48);
  CHECK(view.grid == std::vector<std::int32_t>{0, 0, 0, 1, 1, 0, 1, 1});
  CHECK(view.pixels[0] == 0);
  CHECK(view.pixels[48] == 4);          // the second square starts at x = 4
  CHECK(view.pixels[2 * 48 + 1] == 4);  // the third at y = 4
  CHECK(view.pixels[48 + 12] == 4);     // its second row
  CHECK(view.coords[4] == Approx(13));  // mm: 10 + 6 · .5
  CHECK(view.coords[9] == Approx(23));
}

TEST_CASE("what flips and turns move, coordinates follow") {
  transforms::Augmentation how;
  how.flips = how.turns = true;
  const PictureRecipe recipe({2, {{"tokens", 1, {8}, how}}});
  int moved = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto view = recipe.make(picture(12, 10), {3, 0, i})[0];
    for (std::size_t n = 0; n < 16; ++n) {
      // The mean of a square's own pixels says where it came from.
      double x = 0, y = 0;
      for (std::size_t k = 0; k < 4; ++k) x += view.pixels[12 * n + 3 * k] / 4.0, y += view.pixels[12 * n + 3 * k + 1] / 4.0;
      REQUIRE(view.coords[4 * n] == Approx(10 + 0.5 * (x + 0.5)));
      REQUIRE(view.coords[4 * n + 1] == Approx(20 + 0.5 * (y + 0.5)));
    }
    moved += view.pixels[0] > view.pixels[12] ? 1 : 0;
  }
  CHECK(moved > 0);
}

TEST_CASE("one draw makes the same views again, and several of one picture differ") {
  transforms::Augmentation how{0.2, 0.6};
  how.flips = true;
  how.hed = how.brightness = how.contrast = how.saturation = how.hue = 0.1;
  how.grey = how.blur = how.solarise = 0.5;
  const PictureRecipe recipe({8, {{"global", 2, {32}, how}, {"local", 3, {16}, how}}});
  const auto views = recipe.make(picture(64, 48), {1, 2, 3}), again = recipe.make(picture(64, 48), {1, 2, 3});
  REQUIRE(views.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(views[i].pixels == again[i].pixels);
  CHECK(views[0].pixels != views[1].pixels);
  CHECK(views[2].pixels != views[3].pixels);
  CHECK(views[2].role == "local");
  CHECK(recipe.make(picture(64, 48), {1, 2, 4})[0].pixels != views[0].pixels);
}

TEST_CASE("squares are masked at random or in blocks") {
  for (const auto mode : {MaskMode::kRandom, MaskMode::kBernoulli, MaskMode::kMultiblock}) {
    const PictureRecipe recipe({8, {{"tokens", 1, {128}, still()}}, mode, 0.75});
    const auto view = recipe.make(picture(128, 128), {1, 0, 5})[0];
    CHECK(view.blocks == (mode == MaskMode::kMultiblock ? 4 : 1));
    if (mode == MaskMode::kRandom) CHECK(view.keep.size() == 64);
    CHECK(!view.keep.empty());
    for (const auto kept : view.keep) REQUIRE(std::find(view.masked.begin(), view.masked.end(), kept) == view.masked.end());
  }
  const auto both = PictureRecipe({8, {{"tokens", 1, {32}, still()}}, MaskMode::kRandom, 0.5, true}).make(picture(32, 32), {});
  REQUIRE(both.size() == 2);
  CHECK(both[0].keep == both[1].masked);
  CHECK(both[0].masked == both[1].keep);
}

TEST_CASE("a recipe of pictures that cannot be is refused") {
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {40}, still()}}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {32}, still()}}, MaskMode::kTime, 0.5}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 2, {32}, still()}}, MaskMode::kRandom, 0.5}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {32}, still()}}, MaskMode::kRandom, 1}), ValueError);
  transforms::Augmentation bad;
  bad.hue = 0.7;
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {32}, bad}}}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {32}, still()}}}).make(picture(16, 16), {}), ValueError);
  CHECK_THROWS_AS(PictureRecipe({16, {{"tokens", 1, {32}, still()}}}).make(Sample{}, {}), ValueError);
}
