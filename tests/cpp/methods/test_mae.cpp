#include "catch.h"
#include "methods/mae.h"
#include "small.h"
#include "small_vit.h"

using namespace sslmed;
using namespace sslmed::methods;

namespace {

MaeOptions mae_options(bool norm_target = true) {
  MaeOptions options{16, 1, 2};
  options.norm_target = norm_target;
  options.seed = 1;
  return options;
}

std::unique_ptr<Mae> mixed_mae() {
  auto config = testing::small_vit();
  config.more = {testing::ramp_embedding()};
  return std::make_unique<Mae>(std::make_shared<nn::VisionTransformer>(config, 1), mae_options());
}

}  // namespace

TEST_CASE("the encoder never sees a masked patch") {
  Mae mae(std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1), mae_options(), testing::eeg_recipe());
  const testing::FakeSource source(4);
  const auto recipe = mae.recipe();
  std::vector<std::vector<data::View>> views;
  for (std::int64_t i = 0; i < 4; ++i) views.push_back(recipe->make(source.sample(i, {}), {0, 0, static_cast<std::uint64_t>(i)}));
  auto batch = data::assemble(0, {0, 1, 2, 3}, std::move(views), *data::BufferPool::make(2));
  const auto& view = batch.views.at(0);
  const auto& mask = view.masks("test");
  const auto latent_of = [&] {
    return mae.forward(tokens_of(view.patches("test")), mask.visible, mask.masked, mask.visible_lengths, mask.masked_lengths).latent;
  };
  const auto latent = latent_of();
  const auto loss = mae.loss(batch, {}).total;
  CHECK(std::isfinite(loss.item<double>()));
  std::get<data::PackedPatches>(batch.views[0].content).values.index_fill_(0, mask.masked, 1e6);
  CHECK(at::equal(latent, latent_of()));
  loss.backward();
  for (const auto& item : mae.named_parameters())
    if (item.value().requires_grad()) CHECK(item.value().grad().defined());
  data::Batch empty;
  CHECK_THROWS_AS(mae.loss(empty, {}), c10::ValueError);
}

TEST_CASE("MAE's loss of several modalities is the mean over all masked patches") {
  const auto mae = mixed_mae();
  const testing::FakeSource signals(3);
  const toy::RampSource ramps(3);
  const auto eeg = testing::eeg_recipe();
  const auto grid = testing::ramp_recipe({masking::Mode::kRandom, 0.75});
  const auto batch = testing::batch_of({{&signals, eeg.get()}, {&ramps, grid.get()}}, 3);
  REQUIRE(batch.views.size() == 2);
  const auto whole = mae->loss(batch, {});
  double expected = 0, terms = 0;
  std::vector<at::Tensor> features;
  for (const auto& view : batch.views) {
    data::Batch one;
    one.sample_ids = batch.sample_ids;
    one.views = {view};
    const auto part = mae->loss(one, {});
    CHECK(part.weight == static_cast<double>(view.mask->masked.numel()));
    expected += part.weight * part.total.item<double>();
    terms += part.weight;
    features.push_back(part.features);
  }
  CHECK(terms == 14 + 18);  // half of 8, 8 and 12 channels' patches, and 6 of 8 cubes of each
  CHECK(whole.weight == terms);
  CHECK(whole.total.item<double>() == Approx(expected / terms).epsilon(1e-6));
  CHECK(at::allclose(whole.features, at::cat(features), 1e-5, 1e-6));
  whole.total.backward();
  for (const auto& item : mae->named_parameters()) CHECK(item.value().grad().defined());
}

TEST_CASE("each modality has its own end in the decoder, and the first one's is that of a decoder alone") {
  const auto both = mixed_mae();
  const Mae alone(std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1), mae_options());
  for (const auto& item : alone.named_parameters()) CHECK(at::equal(item.value(), both->named_parameters()[item.key()]));
  CHECK(both->named_parameters()["decoder.embeddings.ramps.pred.weight"].sizes() == at::IntArrayRef({64, 16}));
  const testing::FakeSource signals(3);
  const auto eeg = testing::eeg_recipe();
  const auto batch = testing::batch_of({{&signals, eeg.get()}}, 3);
  Mae same(std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1), mae_options());
  CHECK(at::equal(same.loss(batch, {}).total, both->loss(batch, {}).total));
}

TEST_CASE("MAE learns patches of grids whose extents differ") {
  auto config = testing::small_vit();
  config.embedding = testing::ramp_embedding();
  Mae mae(std::make_shared<nn::VisionTransformer>(config, 1), mae_options());
  const toy::RampSource small(2), large(2, {8, 12, 8});
  const auto grid = testing::ramp_recipe();
  const auto batch = testing::batch_of({{&small, grid.get()}, {&large, grid.get()}}, 2);
  REQUIRE(batch.views.size() == 1);
  const auto both = mae.loss(batch, {});
  double expected = 0;
  for (const auto* source : {&small, &large}) {
    // A sample draws its mask by its place in the batch: the second part's begin at two.
    std::vector<std::vector<data::View>> views;
    for (std::uint64_t i = 0; i < 2; ++i) {
      const Draw draw{0, 0, i + (source == &large ? 2 : 0)};
      views.push_back(grid->make(source->sample(static_cast<std::int64_t>(i), draw), draw));
    }
    const auto part = mae.loss(data::assemble(0, {0, 1}, std::move(views), *data::BufferPool::make(2)), {});
    expected += part.weight * part.total.item<double>();
  }
  CHECK(both.weight == 2 * 4 + 2 * 6);
  CHECK(both.total.item<double>() == Approx(expected / both.weight).epsilon(1e-5));
}

TEST_CASE("what MAE cannot learn from is refused") {
  const auto mae = mixed_mae();
  const toy::RampSource ramps(2);
  const auto plain = testing::ramp_recipe({});
  CHECK_THROWS_WITH(mae->loss(testing::batch_of({{&ramps, plain.get()}}, 2), {}), Catch::Contains("mae: needs views with a mask"));
  data::GridView dense;
  dense.mask = {masking::Mode::kRandom, 0.5};
  dense.mask_cell = {4, 4, 4};
  const data::GridRecipe recipe({dense});
  CHECK_THROWS_WITH(mae->loss(testing::batch_of({{&ramps, &recipe}}, 2), {}), Catch::Contains("mae: needs views of patches"));
  const auto refused = [](const auto& change, const std::string& name) {
    auto options = mae_options();
    change(options);
    const auto encoder = std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1);
    CHECK_THROWS_WITH(Mae(encoder, options), Catch::Contains(name));
    CHECK_THROWS_AS(Mae(encoder, options), c10::ValueError);
  };
  refused([](MaeOptions& options) { options.decoder_depth = 0; }, "decoder_depth must be positive, got 0");
  refused([](MaeOptions& options) { options.decoder_heads = 0; }, "decoder_heads must be positive, got 0");
  refused([](MaeOptions& options) { options.decoder_dim = 17; }, "decoder_dim=17 must be a positive multiple of decoder_heads=2");
  refused([](MaeOptions& options) { options.reconstruct_bins = 0; }, "reconstruct_bins must be at least 1, got 0");
  refused([](MaeOptions& options) { options.reconstruct = Reconstruct::kSpectrum, options.reconstruct_bins = 5; }, "reconstruct_bins=5 must be within");
  auto config = testing::small_vit();
  config.embedding = testing::ramp_embedding();
  auto options = mae_options();
  options.reconstruct = Reconstruct::kSpectrum;
  CHECK_THROWS_WITH(Mae(std::make_shared<nn::VisionTransformer>(config, 1), options), Catch::Contains("reconstruct='spectrum' needs patches of one channel"));
}
