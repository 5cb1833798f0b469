#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "modalities/picture/image_source.h"

using namespace sslmed;
using namespace sslmed::picture;

namespace {

const std::array<std::int64_t, 3> kPaths{0, 14, 28}, kPeople{0, 1, 2};

data::Origins two() { return {{kPaths.data(), "/no/such/a.png/no/such/b.png", nullptr}, {1, 0}, {0, 0}, {kPeople.data(), "pq", nullptr}, {"here"}, 2}; }

}  // namespace

TEST_CASE("images are described without a look at their files") {
  const ImageSource source(two(), {32, Fit::kPad}, {{"target", {1, 0}}});
  CHECK(source.size() == 2);
  CHECK(source.describe(0).subject == "q");
  CHECK(source.describe(1).file == "/no/such/b.png");
  CHECK(source.describe(1).recording == 1);
  CHECK(source.first_samples() == std::vector<std::int64_t>{0, 1, 2});
  CHECK_THROWS_AS(source.sample(0, {}), ReadError);
  CHECK_THROWS_AS(source.sample(2, {}), ValueError);
  CHECK_THROWS_AS(source.describe(-1), ValueError);
}

TEST_CASE("images that do not fit their columns are refused") {
  CHECK_THROWS_AS(ImageSource(two(), {0}), ValueError);
  CHECK_THROWS_AS(ImageSource({}, {}), ValueError);
  CHECK_THROWS_AS(ImageSource(two(), {}, {{"target", {1}}}), ValueError);
  auto images = two();
  images.subject_codes[0] = 2;
  CHECK_THROWS_AS(ImageSource(images, {}), ValueError);
  images = two();
  images.site_codes.pop_back();
  CHECK_THROWS_AS(ImageSource(images, {}), ValueError);
}
