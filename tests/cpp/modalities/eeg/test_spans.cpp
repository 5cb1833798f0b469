#include <catch2/catch.hpp>

#include "modalities/eeg/spans.h"

using namespace sslmed::eeg;

TEST_CASE("spans and boundaries by their texts") {
  for (const char* text : {"BAD_x", "bad", "Comment/BAD eye", "Bad Interval/Bad Min-Max"}) CHECK(is_bad(text));
  for (const char* text : {"a bad day", "Stimulus/S 1", ""}) CHECK_FALSE(is_bad(text));
  for (const char* text : {"boundary", "New Segment/", "EDGE boundary", "BAD boundary", "LostSamples/LostSamples: 5"}) CHECK(is_boundary(text));
  for (const char* text : {"boundary of a task", "Comment/x", "BAD_x"}) CHECK_FALSE(is_boundary(text));
}

TEST_CASE("usable stretches") {
  using Stretches = std::vector<Stretch>;
  const Stretches whole{{0, 100}};
  CHECK(usable_stretches(whole, {}, 10) == whole);
  CHECK(usable_stretches(whole, {{1.0, 2.0, "good"}}, 10) == whole);
  CHECK(usable_stretches(whole, {{1.0, 2.0, "BAD"}}, 10) == Stretches{{0, 10}, {30, 100}});
  CHECK(usable_stretches(whole, {{1.01, 1.98, "BAD"}}, 10) == Stretches{{0, 10}, {30, 100}});       // outwards
  CHECK(usable_stretches(whole, {{0.99999999, 2.0, "BAD"}}, 10) == Stretches{{0, 10}, {30, 100}});  // rounding of a decimal
  CHECK(usable_stretches(whole, {{5.0, std::nullopt, "BAD"}}, 10) == Stretches{{0, 50}, {50, 100}});
  CHECK(usable_stretches(whole, {{5.0, 3.0, "boundary"}}, 10) == Stretches{{0, 50}, {50, 100}});
  CHECK(usable_stretches(whole, {{0.0, 0.0, "boundary"}, {10.0, 0.0, "boundary"}}, 10) == whole);
  CHECK(usable_stretches(whole, {{-5.0, 6.0, "BAD"}, {9.0, 1e9, "BAD"}}, 10) == Stretches{{10, 90}});
  CHECK(usable_stretches({{0, 40}, {60, 100}}, {{3.0, 4.0, "BAD"}}, 10) == Stretches{{0, 30}, {70, 100}});
  CHECK(usable_stretches(whole, {{0.0, 10.0, "BAD"}}, 10).empty());
}
