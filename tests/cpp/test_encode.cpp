#include <cmath>

#include "catch.h"
#include "data/patch_recipe.h"
#include "fake_source.h"
#include "nn/vit.h"
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

TEST_CASE("regions are means of their own electrodes") {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  const nn::VisionTransformer vit(config, 1);
  const auto source = std::make_shared<const testing::FakeSource>(3);
  const auto recipe = std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kNone, 0, 1});
  const auto sampler = std::make_shared<const data::Sampler>(3, data::Order::kSequential, 3, false, 0);
  data::Loader pooled(source, recipe, sampler, {1, 2, data::OnError::kRaise, 0, 1}), plain(source, recipe, sampler, {1, 2, data::OnError::kRaise, 0, 1});
  const auto values = train::encode(vit, pooled, train::Pooling::kRegions).values.view({3, 6, 24});
  const auto view = plain.next()->patches[0];
  nn::PatchTokens tokens;
  tokens.values = view.values, tokens.coords = view.coords, tokens.channel = view.extra, tokens.lengths = view.lengths;
  const auto encoded = vit.forward_tokens(tokens).patches();
  std::int64_t row = 0;
  for (std::size_t b = 0; b < view.lengths.size(); ++b) {
    std::vector<at::Tensor> own[6], all;
    for (std::int64_t i = row; i < row + view.lengths[b]; ++i) {
      const float x = view.coords[i][0].item<float>(), y = view.coords[i][1].item<float>();
      if (std::isfinite(x)) own[(x < -5 ? 0 : x > 5 ? 2 : 1) + (y < 0 ? 3 : 0)].push_back(encoded[i]);
      all.push_back(encoded[i]);
    }
    for (int r = 0; r < 6; ++r) {
      const auto expected = at::stack(own[r].empty() ? all : own[r]).mean(0);
      CHECK(at::allclose(values[view.slots[b]][r], expected, 1e-4, 1e-5));
    }
    row += view.lengths[b];
  }
}
