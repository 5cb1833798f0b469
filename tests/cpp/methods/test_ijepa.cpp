#include "catch.h"
#include "methods/ijepa.h"
#include "small.h"
#include "small_vit.h"

using namespace sslmed;

namespace {

methods::IJepaOptions ijepa_options(masking::Mode mask) { return {16, 1, 2, 0.9, 1.0, mask == masking::Mode::kMultiblockExact, 1}; }

std::shared_ptr<methods::IJepa> ijepa(masking::Mode mask) {
  return std::make_shared<methods::IJepa>(std::make_shared<nn::VisionTransformer>(testing::small_vit(1, /*class_token=*/false), 1), ijepa_options(mask),
                                          testing::eeg_recipe({mask, 0, 1}));
}

std::vector<std::vector<data::View>> eeg_views(const data::Recipe& recipe) {
  std::vector<std::vector<data::View>> views;
  for (std::uint64_t i = 0; i < 3; ++i) {
    std::vector<float> values;
    for (int v = 0; v < 8 * 64; ++v) values.push_back(static_cast<float>((v * 37 + static_cast<int>(i)) % 19));
    data::ChannelSpace space;
    space.sfreq = 32;
    for (int c = 0; c < 8; ++c) space.positions.push_back({static_cast<float>(c % 2), static_cast<float>(c), 0});
    space.extra.assign(8, -1);
    data::Sample sample;
    sample.arrays.push_back({"eeg", {8, 64}, std::move(values), std::move(space)});
    views.push_back(recipe.make(sample, {0, 0, i, 0}));
  }
  return views;
}

data::Batch batch(data::BufferPool& pool) { return data::assemble(0, {0, 1, 2}, eeg_views(*testing::eeg_recipe({masking::Mode::kMultiblock, 0, 1})), pool); }

}  // namespace

TEST_CASE("targets take no gradient, and only what is trained is in the groups") {
  const auto pool = data::BufferPool::make(1);
  for (const auto mask : {masking::Mode::kMultiblock, masking::Mode::kMultiblockExact}) {
    const auto model = ijepa(mask);
    const auto loss = model->loss(batch(*pool), {});
    CHECK(loss.features.sizes() == at::IntArrayRef({3, 24}));
    loss.total.backward();
    std::size_t trained = 0;
    for (const auto& group : model->parameter_groups())
      for (const auto& name : group.names) {
        CHECK(name.rfind("target.", 0) != 0);
        CHECK(model->named_parameters()[name].grad().defined());
        ++trained;
      }
    for (const auto& item : model->named_parameters())
      if (item.key().rfind("target.", 0) == 0) CHECK_FALSE(item.value().grad().defined());
    CHECK(trained > 20);
  }
}

TEST_CASE("a batch without blocks is refused") {
  const auto pool = data::BufferPool::make(1);
  auto plain = batch(*pool);
  plain.views[0].mask->blocks = 1;
  CHECK_THROWS_AS(ijepa(masking::Mode::kMultiblock)->loss(plain, {}), c10::ValueError);
  plain.views[0].mask.reset();
  CHECK_THROWS_WITH(ijepa(masking::Mode::kMultiblock)->loss(plain, {}), Catch::Contains("ijepa: needs views with a mask"));
  CHECK_THROWS_AS(ijepa(masking::Mode::kMultiblock)->loss(data::Batch{}, {}), c10::ValueError);
}

TEST_CASE("the target encoder follows the trained one by the step's momentum") {
  const auto model = ijepa(masking::Mode::kMultiblock);
  const auto name = std::string("norm.weight");
  const auto own = model->named_parameters()["encoder." + name], target = model->named_parameters()["target." + name];
  CHECK(at::equal(own, target));
  {
    const at::NoGradGuard guard;
    own.add_(1);
  }
  model->after_step({5, 10});  // from 0.9 to 1: 0.95
  CHECK(at::allclose(target, at::full({24}, 1.05)));
  model->after_step({10, 10});
  CHECK(at::allclose(target, at::full({24}, 1.05)));
  CHECK(model->encoder()->named_parameters()[name].is_same(target));
}

TEST_CASE("I-JEPA's loss of several modalities is the mean over all predicted tokens") {
  auto config = testing::small_vit(1, /*class_token=*/false);
  nn::EmbeddingConfig pictures;
  pictures.modality = "pictures", pictures.patch_size = {2, 2}, pictures.img_size = {24, 16};
  config.more = {pictures};
  for (const auto mask : {masking::Mode::kMultiblock, masking::Mode::kMultiblockExact}) {
    methods::IJepa model(std::make_shared<nn::VisionTransformer>(config, 1), ijepa_options(mask));
    data::GridView how;
    how.patch = {2, 2};
    how.mask = {mask, 0.5};
    const data::GridRecipe recipe({how});
    auto views = eeg_views(*testing::eeg_recipe({mask, 0, 1}));
    for (std::uint64_t i = 0; i < 3; ++i) {
      std::vector<float> values;
      for (int v = 0; v < 384; ++v) values.push_back(static_cast<float>((v * 31 + static_cast<int>(i)) % 17) / 8);
      data::Sample sample;
      sample.arrays.push_back({"pictures", {24, 16, 1}, std::move(values), data::GridSpace{{0, 0}, {0, 0}}});
      views.push_back(recipe.make(sample, {0, 0, 3 + i, 0}));
    }
    const auto whole = data::assemble(0, {0, 1, 2, 3, 4, 5}, std::move(views), *data::BufferPool::make(2));
    REQUIRE(whole.views.size() == 2);
    const auto loss = model.loss(whole, {});
    double expected = 0, terms = 0;
    for (const auto& view : whole.views) {
      data::Batch one;
      one.sample_ids = whole.sample_ids;
      one.views = {view};
      const auto part = model.loss(one, {});
      CHECK(part.weight == static_cast<double>(view.mask->masked.numel()));
      expected += part.weight * part.total.item<double>();
      terms += part.weight;
    }
    CHECK(loss.weight == terms);
    CHECK(whole.views[0].mask->masked.numel() != whole.views[1].mask->masked.numel());
    CHECK(loss.total.item<double>() == Approx(expected / terms).epsilon(1e-5));
    CHECK(loss.features.sizes() == at::IntArrayRef({6, 24}));
    loss.total.backward();
    for (const auto& group : model.parameter_groups())
      for (const auto& name : group.names) CHECK(model.named_parameters()[name].grad().defined());
  }
}

TEST_CASE("options of I-JEPA that cannot be are refused by name") {
  const auto refused = [](const auto& change, const std::string& name) {
    auto options = ijepa_options(masking::Mode::kMultiblock);
    change(options);
    const auto encoder = std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1);
    CHECK_THROWS_WITH(methods::IJepa(encoder, options), Catch::Contains(name));
    CHECK_THROWS_AS(methods::IJepa(encoder, options), c10::ValueError);
  };
  using methods::IJepaOptions;
  refused([](IJepaOptions& options) { options.predictor_depth = 0; }, "predictor_depth must be positive, got 0");
  refused([](IJepaOptions& options) { options.predictor_dim = 17; }, "predictor_dim=17 must be a positive multiple of predictor_heads=2");
  refused([](IJepaOptions& options) { options.ema_start = 1.5; }, "ema_start must be within [0, 1], got 1.5");
  refused([](IJepaOptions& options) { options.ema_end = 0.5; }, "ema_end must be within [ema_start, 1], got 0.5");
}
