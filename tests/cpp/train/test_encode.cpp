#include <cmath>

#include "catch.h"
#include "data/joined.h"
#include "modalities/eeg/regions.h"
#include "nn/cnn.h"
#include "small.h"
#include "small_vit.h"
#include "train/encode.h"

using namespace sslmed;
using train::Pooling;

namespace {

data::Loader in_order(std::shared_ptr<const data::Source> source, std::shared_ptr<const data::Recipe> recipe, std::int64_t batch, unsigned threads = 2) {
  const auto sampler = std::make_shared<const data::Sampler>(source->size(), data::Order::kSequential, batch, false, 0);
  return data::Loader(std::move(source), std::move(recipe), sampler,
                      {threads, 2, data::OnError::kRaise, 0, static_cast<std::uint64_t>(sampler->batches_per_epoch())});
}

Pooling class_token_pooling() {
  Pooling pooling;
  pooling.kind = Pooling::Kind::kClassToken;
  return pooling;
}

Pooling head_pooling() { return {Pooling::Kind::kRegions, eeg::kRegions, eeg::head_regions}; }

}  // namespace

TEST_CASE("features come in the order of the samples, whatever the batches") {
  const nn::VisionTransformer vit(testing::small_vit(), 1);
  const auto source = std::make_shared<const testing::FakeSource>(9);
  const auto recipe = testing::eeg_recipe({});
  std::vector<train::SampleFeatures> runs;
  for (const std::int64_t batch : {1, 4, 9}) {
    auto loader = in_order(source, recipe, batch);
    runs.push_back(train::encode(vit, loader, {}));
    CHECK(at::equal(runs.back().sample_ids, at::arange(9)));
    CHECK(at::allclose(runs.back().values, runs.front().values, 1e-4, 1e-5));
  }
  auto loader = in_order(source, recipe, 4, 1);
  CHECK_FALSE(at::allclose(train::encode(vit, loader, class_token_pooling()).values, runs.front().values));
}

TEST_CASE("regions are means of their own electrodes") {
  const nn::VisionTransformer vit(testing::small_vit(), 1);
  const auto source = std::make_shared<const testing::FakeSource>(3);
  const auto recipe = testing::eeg_recipe({});
  auto pooled = in_order(source, recipe, 3, 1), plain = in_order(source, recipe, 3, 1);
  const auto values = train::encode(vit, pooled, head_pooling()).values.view({3, 6, 24});
  const auto view = plain.next()->views[0];
  const auto& patches = view.patches("test");
  nn::PatchTokens tokens;
  tokens.values = patches.values, tokens.coords = patches.coords, tokens.channel = patches.extra, tokens.lengths = patches.lengths;
  const auto encoded = vit.forward_view(tokens).patches();
  std::int64_t row = 0;
  for (std::size_t b = 0; b < patches.lengths.size(); ++b) {
    std::vector<at::Tensor> own[6], all;
    for (std::int64_t i = row; i < row + patches.lengths[b]; ++i) {
      const float x = patches.coords[i][0].item<float>(), y = patches.coords[i][1].item<float>();
      if (std::isfinite(x)) own[(x < -5 ? 0 : x > 5 ? 2 : 1) + (y < 0 ? 3 : 0)].push_back(encoded[i]);
      all.push_back(encoded[i]);
    }
    for (int r = 0; r < 6; ++r) {
      const auto expected = at::stack(own[r].empty() ? all : own[r]).mean(0);
      CHECK(at::allclose(values[view.slots[b]][r], expected, 1e-4, 1e-5));
    }
    row += patches.lengths[b];
  }
}

TEST_CASE("six regions of a head: left, middle, right, in front and behind") {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const auto coords = at::tensor({-40.f, 10.f,  0.f, 0.f, 0.f,  10.f,  0.f, 0.f, 40.f, 10.f, 0.f, 0.f, -40.f, -10.f, 0.f, 0.f,
                                  5.f,   -10.f, 0.f, 0.f, 5.1f, -10.f, 0.f, 0.f, -5.f, 0.f,  0.f, 0.f, nan,   nan,   nan, 0.f})
                          .view({8, 4});
  CHECK(at::equal(eeg::head_regions(coords), at::tensor({0, 1, 2, 3, 4, 5, 1, -1}, at::kLong)));
}

TEST_CASE("dense views and several modalities are encoded as well") {
  const auto ramps = std::make_shared<const toy::RampSource>(5);
  const auto volumes = std::make_shared<const data::GridRecipe>(std::vector<data::GridView>{data::GridView{}});
  nn::CnnConfig config;
  config.widths = {4, 8};
  nn::ConvEncoder cnn(config, 1);
  cnn.eval();
  auto loader = in_order(ramps, volumes, 2);
  const auto features = train::encode(cnn, loader, {});
  CHECK(features.values.sizes() == at::IntArrayRef({5, 8}));
  auto again = in_order(ramps, volumes, 5);
  CHECK(at::allclose(train::encode(cnn, again, {}).values, features.values, 1e-4, 1e-5));
  auto refused = in_order(ramps, volumes, 2);
  CHECK_THROWS_WITH(train::encode(cnn, refused, class_token_pooling()), Catch::Contains("pooling='cls' needs an encoder with a class token"));
  auto regions = in_order(ramps, volumes, 2);
  CHECK_THROWS_WITH(train::encode(cnn, regions, head_pooling()), Catch::Contains("pooling='regions': needs views of patches"));

  auto both = testing::small_vit();
  both.more = {testing::ramp_embedding()};
  const nn::VisionTransformer vit(both, 1);
  const auto signals = std::make_shared<const testing::FakeSource>(5);
  const auto eeg = testing::eeg_recipe({});
  const auto cubes = testing::ramp_recipe({});
  // Rows of a cohort: signal, ramp, ramp, signal …
  const auto joined = std::make_shared<const data::JoinedSource>(std::vector<std::shared_ptr<const data::Source>>{signals, ramps},
                                                                 std::vector<std::int32_t>{0, 1, 1, 0, 0, 1, 0, 1, 1, 0});
  const auto recipe = std::make_shared<const data::JoinedRecipe>(std::map<std::string, std::shared_ptr<const data::Recipe>>{{"eeg", eeg}, {"ramps", cubes}});
  auto mixed = in_order(joined, recipe, 4);
  const auto found = train::encode(vit, mixed, {});
  CHECK(at::equal(found.sample_ids, at::arange(10)));
  auto first = in_order(signals, eeg, 5), second = in_order(ramps, cubes, 5);
  const auto of_signals = train::encode(vit, first, {}).values, of_ramps = train::encode(vit, second, {}).values;
  CHECK(at::allclose(found.values.index_select(0, at::tensor({0, 3, 4, 6, 9})), of_signals, 1e-4, 1e-5));
  CHECK(at::allclose(found.values.index_select(0, at::tensor({1, 2, 5, 7, 8})), of_ramps, 1e-4, 1e-5));
}
