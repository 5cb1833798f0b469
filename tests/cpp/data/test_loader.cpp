#include <chrono>
#include <memory>
#include <thread>

#include "catch.h"
#include "core/error.h"
#include "data/loader.h"
#include "fake_source.h"
#include "modalities/eeg/eeg_recipe.h"

using namespace sslmed;
using namespace sslmed::data;

namespace {
at::Tensor values_of(const Batch& batch) { return batch.views.at(0).patches("test").values; }

Loader make(unsigned threads, OnError on_error, std::int64_t bad = -1, std::uint64_t first = 0) {
  const auto source = std::make_shared<const testing::FakeSource>(20, bad);
  return Loader(source, std::make_shared<const eeg::EegRecipe>(eeg::EegRecipeOptions{8, 0, {{"tokens", 1, 0, {}, {masking::Mode::kRandom, 0.5, 2}}}}),
                std::make_shared<const Sampler>(20, Order::kShuffle, 6, false, 3), {threads, 2, on_error, first, 12});
}
}  // namespace

TEST_CASE("the stream is the same for any number of threads and from any start") {
  auto one = make(1, OnError::kRaise), eight = make(8, OnError::kRaise), late = make(3, OnError::kRaise, -1, 5);
  for (int i = 0; i < 12; ++i) {
    CHECK(one.position() == static_cast<std::uint64_t>(i));
    const auto a = one.next(), b = eight.next();
    REQUIRE(a.has_value());
    CHECK(at::equal(values_of(*a), values_of(*b)));
    CHECK(at::equal(a->views[0].mask->visible, b->views[0].mask->visible));
    if (i >= 5) CHECK(at::equal(a->views[0].mask->masked, late.next()->views[0].mask->masked));
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

namespace {
// A disk that takes its time with every other sample, and once throws what is no std::exception.
struct SlowSource : testing::FakeSource {
  SlowSource(std::int64_t n, std::int64_t odd) : FakeSource(n), odd_(odd) {}
  Sample sample(std::int64_t i, const Draw& draw) const override {
    if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (i == odd_) throw 42;
    return FakeSource::sample(i, draw);
  }

 private:
  std::int64_t odd_;
};

std::shared_ptr<const Recipe> recipe() {
  return std::make_shared<const eeg::EegRecipe>(eeg::EegRecipeOptions{8, 0, {{"tokens", 1, 0, {}, {masking::Mode::kRandom, 0.5, 2}}}});
}
std::shared_ptr<const Sampler> twenty() { return std::make_shared<const Sampler>(20, Order::kShuffle, 6, false, 3); }
}  // namespace

TEST_CASE("a slow disk changes nothing but the time, and does not hold up the end") {
  auto quick = make(2, OnError::kRaise);
  Loader slow(std::make_shared<const SlowSource>(20, -1), recipe(), twenty(), {4, 2, OnError::kRaise, 0, 8});
  for (int i = 0; i < 8; ++i) CHECK(at::equal(values_of(*slow.next()), values_of(*quick.next())));
  CHECK_FALSE(slow.next().has_value());
  const auto start = std::chrono::steady_clock::now();
  { const Loader dropped(std::make_shared<const SlowSource>(20, -1), recipe(), twenty(), {4, 2, OnError::kRaise, 0, 100'000}); }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("whatever a thread throws reaches the consumer") {
  for (const auto policy : {OnError::kRaise, OnError::kSkip}) {
    Loader loader(std::make_shared<const SlowSource>(20, 7), recipe(), twenty(), {4, 2, policy, 0, 4});
    CHECK_THROWS_AS(
        [&] {
          while (loader.next()) {
          }
        }(),
        int);
  }
}

TEST_CASE("ranks share out every batch, and one without a sample still has its turn") {
  std::vector<std::unique_ptr<Loader>> ranks;
  for (unsigned r = 0; r < 4; ++r) {
    LoaderOptions options{2, 2, OnError::kRaise, 0, 8};
    options.rank = r, options.ranks = 4;
    ranks.push_back(std::make_unique<Loader>(std::make_shared<const testing::FakeSource>(20), recipe(), twenty(), options));
  }
  auto whole = make(2, OnError::kRaise);
  for (int i = 0; i < 8; ++i) {
    std::vector<std::int64_t> ids;
    for (auto& rank : ranks) {
      const auto batch = rank->next();
      REQUIRE(batch.has_value());
      CHECK(batch->views.empty() == batch->sample_ids.empty());
      ids.insert(ids.end(), batch->sample_ids.begin(), batch->sample_ids.end());
    }
    CHECK(ids == whole.next()->sample_ids);  // the last of an epoch has two samples for four ranks
  }
}

TEST_CASE("a loader can be dropped at any time") {
  for (int i = 0; i < 50; ++i) {
    auto loader = make(8, OnError::kRaise);
    if (i % 2 == 0) loader.next();
  }
}
