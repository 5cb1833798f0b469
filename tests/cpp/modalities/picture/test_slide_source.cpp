#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "modalities/picture/slide_source.h"

using namespace sslmed;
using namespace sslmed::picture;

namespace {

// A slide of 640 x 400 µm at .5 µm per pixel in cells of 32 µm, with tissue where `mask` [12 x 20] is not 0.
struct Index {
  explicit Index(const std::vector<std::uint8_t>& mask) : runs(tissue_runs(mask.data(), 240)) {
    offsets = {0, static_cast<std::int64_t>(runs.size())};
    for (const auto cell : mask) index.cells[0] += cell;
    index.tissue = {offsets.data(), runs.data(), nullptr};
    index.slides = {{path_offsets.data(), "slide", nullptr}, {0}, {0}, {path_offsets.data(), "whose", nullptr}, {"here"}, 1};
  }
  std::string runs;
  std::array<std::int64_t, 2> offsets{}, path_offsets{0, 5};
  SlideIndex index{{}, {}, {1280}, {800}, {0.5}, {0.5}, {64}, {64}, {20}, {12}, {0}};
};

std::vector<std::uint8_t> patchy() {
  std::vector<std::uint8_t> mask(240, 0);
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 7 < 3 || (i > 100 && i < 150) ? 1 : 0;
  return mask;
}

}  // namespace

TEST_CASE("a grid of pictures has those whose middles are in tissue, each once") {
  const auto mask = patchy();
  const Index of(mask);
  // 48 µm a side: 13 columns and 8 rows have their middles on the slide.
  const SlideSource source(of.index, {0.5, 0, 96, false});
  std::int64_t expected = 0, at = 0;
  for (int row = 0; row < 8; ++row) {
    for (int column = 0; column < 13; ++column) {
      const auto cell = static_cast<std::size_t>((row * 48 + 24) / 32 * 20 + (column * 48 + 24) / 32);
      if (mask[cell] == 0) continue;
      ++expected;
      const auto info = source.describe(at++);
      CHECK(info.place[0].value == Approx(column * 96));
      CHECK(info.place[1].value == Approx(row * 96));
      CHECK(info.subject == "whose");
    }
  }
  CHECK(source.size() == expected);
  CHECK(source.first_samples() == std::vector<std::int64_t>{0, expected});
  // A bit of tissue between two middles still has a picture.
  std::vector<std::uint8_t> speck(240, 0);
  speck[21] = 1;
  const Index small(speck);
  const SlideSource one(small.index, {0.5, 0, 256, false});
  REQUIRE(one.size() == 1);
  CHECK(one.describe(0).place[0].value == Approx(1.5 * 64 - 128));
}

TEST_CASE("an index that does not fit is refused") {
  const auto refused = [](const auto& change) {
    Index of(patchy());
    change(of.index);
    CHECK_THROWS_AS(SlideSource(of.index, {0.5, 0, 96, false}), ValueError);
  };
  refused([](SlideIndex& index) { index.cells[0] = 300; });
  refused([](SlideIndex& index) { index.rows[0] = 2; });
  refused([](SlideIndex& index) { index.mpp_x[0] = std::nan(""); });
  refused([](SlideIndex& index) { index.cell_y[0] = 0; });
  refused([](SlideIndex& index) { index.slides.subject_codes[0] = 1; });
  refused([](SlideIndex& index) { index.slides.site_codes.clear(); });
  Index of(patchy());
  of.index.cells[0] -= 3;
  CHECK_THROWS_AS(SlideSource(of.index, {0.5, 0, 96, false}), FormatError);
  of.index.cells[0] += 3;
  const Index none(std::vector<std::uint8_t>(240, 0));
  CHECK_THROWS_AS(SlideSource(none.index, {}), ValueError);
  for (const SlideSourceOptions& bad :
       {SlideSourceOptions{0}, SlideSourceOptions{0.5, 0.25}, SlideSourceOptions{0.5, 0, 0}, SlideSourceOptions{0.5, 0, 96, false, 0.1}})
    CHECK_THROWS_AS(SlideSource(of.index, bad), ValueError);
  CHECK_THROWS_AS(SlideSource(of.index, {}, {{"label", {1, 2}}}), ValueError);
}
