#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/grid_recipe.h"
#include "data/paired_recipe.h"
#include "toy/ramp_source.h"

using namespace sslmed;

namespace {

std::shared_ptr<const data::Recipe> crops_of(std::vector<std::int64_t> patch) {
  data::GridView view;
  view.patch = std::move(patch);
  view.crop = {4, 4, 4};
  view.random = true;
  view.p_flip = {0.5, 0.5, 0.5};
  return std::make_shared<const data::GridRecipe>(std::vector<data::GridView>{view});
}

}  // namespace

TEST_CASE("two encoders see one crop, each in its own cut") {
  const toy::RampSource source(1);
  const data::PairedRecipe recipe(crops_of({4, 4, 4}), crops_of({}), "teacher");
  std::size_t places = 0;
  float last = -1;
  for (std::uint64_t epoch = 0; epoch < 8; ++epoch) {
    const Draw draw{5, epoch, 0};
    const auto views = recipe.make(source.sample(0, draw), draw);
    REQUIRE(views.size() == 2);
    CHECK(views[0].role == "tokens");
    CHECK(views[1].role == "teacher");
    // One patch is the whole crop, so that both are the same numbers.
    const auto& patches = std::get<std::vector<float>>(std::get<data::Patches>(views[0].content).values);
    const auto& dense = std::get<std::vector<float>>(std::get<data::Dense>(views[1].content).values);
    CHECK(patches == dense);
    places += dense.front() != last;
    last = dense.front();
  }
  CHECK(places > 3);
}

TEST_CASE("a pair needs both recipes") { CHECK_THROWS_AS(data::PairedRecipe(crops_of({}), nullptr, "teacher"), ValueError); }
