#include "catch.h"
#include "data/patch_recipe.h"
#include "fake_source.h"
#include "train/encode.h"

using namespace sslmed;

TEST_CASE("features come in the order of the samples, whatever the batches") {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  const nn::VisionTransformer vit(config, 1);
  const auto source = std::make_shared<const testing::FakeSource>(9);
  const auto recipe = std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kNone, 0, 1});
  std::vector<train::Features> runs;
  for (const std::int64_t batch : {1, 4, 9}) {
    const auto sampler = std::make_shared<const data::Sampler>(9, data::Order::kSequential, batch, false, 0);
    data::Loader loader(source, recipe, sampler, {2, 2, data::OnError::kRaise, 0, static_cast<std::uint64_t>(sampler->batches_per_epoch())});
    runs.push_back(train::encode(vit, loader, train::Pooling::kMean));
    CHECK(at::equal(runs.back().sample_ids, at::arange(9)));
    CHECK(at::allclose(runs.back().values, runs.front().values, 1e-4, 1e-5));
  }
  const auto sampler = std::make_shared<const data::Sampler>(9, data::Order::kSequential, 4, false, 0);
  data::Loader loader(source, recipe, sampler, {1, 2, data::OnError::kRaise, 0, 3});
  CHECK_FALSE(at::allclose(train::encode(vit, loader, train::Pooling::kClassToken).values, runs.front().values));
}
