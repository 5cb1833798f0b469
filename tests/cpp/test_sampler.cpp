#include <catch2/catch.hpp>
#include <set>

#include "core/error.h"
#include "data/sampler.h"

using namespace sslmed;
using namespace sslmed::data;

TEST_CASE("an epoch has every sample once, from any batch on") {
  const Sampler sampler(23, Order::kShuffle, 5, false, 7);
  CHECK(sampler.batches_per_epoch() == 5);
  for (std::uint64_t epoch : {3u, 0u, 9u, 1u}) {
    std::set<std::int64_t> seen;
    for (std::uint64_t b = 0; b < 5; ++b)
      for (const auto& pick : sampler.batch(epoch * 5 + b)) seen.insert(pick.sample);
    CHECK(seen.size() == 23);
  }
  CHECK(Sampler(23, Order::kShuffle, 5, true, 7).batches_per_epoch() == 4);
  CHECK_THROWS_AS(Sampler(3, Order::kShuffle, 5, true, 7), ValueError);
  CHECK_THROWS_AS(Sampler(0, Order::kShuffle, 5, false, 7), ValueError);
  CHECK_THROWS_AS(Sampler(4, Order::kSubject, 2, false, 7, {"a"}), ValueError);
}

TEST_CASE("subject order gives every subject the same share") {
  std::vector<std::string> subjects(30, "big");
  subjects[3] = "small";
  const Sampler sampler(30, Order::kSubject, 10, false, 1, subjects);
  int small = 0;
  for (std::uint64_t b = 0; b < 3; ++b)
    for (const auto& pick : sampler.batch(b)) small += pick.sample == 3;
  CHECK(small == 15);
}
