#include "catch.h"
#include "data/batch.h"
#include "data/patch_recipe.h"
#include "fake_source.h"
#include "methods/mae.h"

using namespace sslmed;
using namespace sslmed::methods;

TEST_CASE("the encoder never sees a masked patch") {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  MaeOptions options{
      16, 1, 2, methods::Target::kSignal, 1, true, std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kRandom, 0.5, 2})};
  Mae mae(std::make_shared<nn::VisionTransformer>(config, 1), options, 1);
  const testing::FakeSource source(4);
  const auto recipe = mae.recipe();
  std::vector<std::vector<data::PatchView>> views;
  for (std::int64_t i = 0; i < 4; ++i) views.push_back(recipe->make(source.sample(i, {}), {0, 0, static_cast<std::uint64_t>(i)}));
  auto batch = data::assemble(0, {0, 1, 2, 3}, std::move(views), *data::BufferPool::make(2));
  auto& view = batch.patches.at(0);
  const auto latent = mae.forward(tokens_of(view), view.keep, view.masked, view.keep_lengths).latent;
  const auto loss = mae.loss(batch, {}).total;
  CHECK(std::isfinite(loss.item<double>()));
  view.values.index_fill_(0, view.masked, 1e6);
  CHECK(at::equal(latent, mae.forward(tokens_of(view), view.keep, view.masked, view.keep_lengths).latent));
  loss.backward();
  for (const auto& item : mae.named_parameters())
    if (item.value().requires_grad()) CHECK(item.value().grad().defined());
  data::Batch empty;
  CHECK_THROWS_AS(mae.loss(empty, {}), c10::ValueError);
}
