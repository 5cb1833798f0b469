// What no loader makes, and the operation refuses.

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <functional>

#include "catch.h"
#include "ops/augment.h"

using namespace sslmed;
using Catch::Matchers::Contains;

TEST_CASE("plans that do not fit their pictures are refused") {
  const auto picture = at::zeros({300}, at::kByte);
  const auto changed = [&](const std::function<void(transforms::PlacedPlan&)>& change) {
    transforms::PlacedPlan placed{};
    placed.plan.size = 8;
    placed.plan.box = {0, 0, 10, 10};
    placed.width = placed.height = 10;
    change(placed);
    return ops::AugmentPlans{placed};
  };
  const auto sound = changed([](auto&) {});
  CHECK(ops::augment(picture, sound, 4).sizes() == at::IntArrayRef({4, 48}));
  CHECK_THROWS_WITH(ops::augment(picture.to(at::kFloat), sound, 4), Contains("pictures must be uint8"));
  CHECK_THROWS_WITH(ops::augment(picture.view({3, 100}), sound, 4), Contains("pictures must be [bytes]"));
  CHECK_THROWS_WITH(ops::augment(picture, sound, 0), Contains("patch=0 must be at least 1 pixel"));
  CHECK_THROWS_WITH(ops::augment(picture, sound, 3), Contains("size=8 pixels is not a multiple of patch=3"));
  CHECK_THROWS_WITH(ops::augment(picture, changed([](auto& placed) { placed.first = 1; }), 4), Contains("is not within 300 bytes"));
  CHECK_THROWS_WITH(ops::augment(picture, changed([](auto& placed) { placed.height = 11; }), 4), Contains("is not within 300 bytes"));
  CHECK_THROWS_WITH(ops::augment(picture, changed([](auto& placed) { placed.plan.turns = 4; }), 4), Contains("turns=4 must be 0 to 3 quarters"));
  CHECK_THROWS(ops::augment(picture, changed([](auto& placed) { placed.plan.box.width = 11; }), 4));
}
