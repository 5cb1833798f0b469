#include "catch.h"
#include "methods/mae.h"
#include "small.h"
#include "small_vit.h"

using namespace sslmed;

TEST_CASE("matrices decay, vectors and tokens do not") {
  methods::MaeOptions options{16, 1, 2};
  options.seed = 1;
  methods::Mae mae(std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1), options, testing::eeg_recipe());
  const auto groups = mae.parameter_groups();
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].decay);
  CHECK_FALSE(groups[1].decay);
  CHECK(groups[0].names.size() + groups[1].names.size() == mae.named_parameters().size());
  for (const auto& name : groups[0].names)
    CHECK((name.find("bias") == std::string::npos && name.find("token") == std::string::npos && name.find("norm") == std::string::npos));
}

TEST_CASE("an encoder takes a batch's views as they are, and knows whose rows they have") {
  const testing::FakeSource signals(3);
  const auto eeg = testing::eeg_recipe();
  const auto batch = testing::batch_of({{&signals, eeg.get()}}, 3);
  const auto& view = batch.views.at(0);
  const auto& patches = view.patches("test");
  const auto input = methods::input_of(view);
  const auto& tokens = std::get<nn::PatchTokens>(input);
  CHECK(tokens.key == patches.key);
  CHECK(tokens.values.is_same(patches.values));
  CHECK(tokens.coords.is_same(patches.coords));
  CHECK(tokens.channel.is_same(patches.extra));
  CHECK(tokens.grid.is_same(patches.grid));
  CHECK(tokens.extents.is_same(patches.extents));
  CHECK(tokens.lengths == patches.lengths);
  const toy::RampSource ramps(2);
  const data::GridRecipe dense({data::GridView{}});
  const auto stacked = testing::batch_of({{&ramps, &dense}}, 2);
  const auto volumes = std::get<nn::DenseInput>(methods::input_of(stacked.views.at(0)));
  CHECK(volumes.values.sizes() == at::IntArrayRef({2, 1, 8, 8, 8}));
  CHECK(volumes.spacing.sizes() == at::IntArrayRef({2, 3}));
  CHECK(volumes.size() == 2);
  const nn::Comm comm;
  const auto context = methods::context_of(view, {3, 9, &comm});
  CHECK(context.samples == view.slots);  // shorter recordings first
  CHECK(context.samples == std::vector<std::int64_t>{0, 2, 1});
  CHECK(context.comm == &comm);
}
