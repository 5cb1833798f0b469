#include "catch.h"
#include "core/error.h"
#include "data/loader.h"
#include "data/patch_recipe.h"
#include "fake_source.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {
Loader make(unsigned threads, OnError on_error, std::int64_t bad = -1, std::uint64_t first = 0) {
  const auto source = std::make_shared<const testing::FakeSource>(20, bad);
  return Loader(source, std::make_shared<const PatchRecipe>(PatchRecipeOptions{8, MaskMode::kRandom, 0.5, 2}),
                std::make_shared<const Sampler>(20, Order::kShuffle, 6, false, 3), {threads, 2, on_error, first, 12});
}
}  // namespace

TEST_CASE("the stream is the same for any number of threads and from any start") {
  auto one = make(1, OnError::kRaise), eight = make(8, OnError::kRaise), late = make(3, OnError::kRaise, -1, 5);
  for (int i = 0; i < 12; ++i) {
    CHECK(one.position() == static_cast<std::uint64_t>(i));
    const auto a = one.next(), b = eight.next();
    REQUIRE(a.has_value());
    CHECK(at::equal(a->patches[0].values, b->patches[0].values));
    CHECK(at::equal(a->patches[0].keep, b->patches[0].keep));
    if (i >= 5) CHECK(at::equal(a->patches[0].masked, late.next()->patches[0].masked));
  }
  CHECK_FALSE(one.next().has_value());
}

TEST_CASE("a bad sample raises at its place, or is skipped, counted and named") {
  auto raising = make(4, OnError::kRaise, 11);
  CHECK_THROWS_AS(
      [&] {
        while (raising.next()) {
        }
      }(),
      FormatError);
  auto skipping = make(4, OnError::kSkip, 11);
  std::int64_t samples = 0;
  while (const auto batch = skipping.next()) samples += batch->samples();
  CHECK(samples == 3 * 19);
  REQUIRE(skipping.failures().size() == 1);
  CHECK(skipping.failures()[0].sample == 11);
  CHECK_THROWS_AS(make(0, OnError::kRaise), ValueError);
}

TEST_CASE("a loader can be dropped at any time") {
  for (int i = 0; i < 50; ++i) {
    auto loader = make(8, OnError::kRaise);
    if (i % 2 == 0) loader.next();
  }
}
