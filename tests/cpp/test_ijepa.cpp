#include "catch.h"
#include "data/patch_recipe.h"
#include "methods/ijepa.h"

using namespace sslmed;

namespace {

std::shared_ptr<methods::IJepa> small(data::MaskMode mask) {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2, config.class_token = false;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  return std::make_shared<methods::IJepa>(
      std::make_shared<nn::VisionTransformer>(config, 1),
      methods::IJepaOptions{16, 1, 2, 0.9, 1.0, std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, mask, 0, 0}),
                            mask == data::MaskMode::kMultiblockExact},
      1);
}

data::Batch batch(data::BufferPool& pool) {
  std::vector<std::vector<data::PatchView>> views;
  const data::PatchRecipe recipe({8, data::MaskMode::kMultiblock, 0, 0});
  for (std::uint64_t i = 0; i < 3; ++i) {
    data::Sample sample;
    sample.shape = {8, 64};
    for (int v = 0; v < 8 * 64; ++v) sample.values.push_back(static_cast<float>((v * 37 + static_cast<int>(i)) % 19));
    sample.space.sfreq = 32;
    for (int c = 0; c < 8; ++c) sample.space.positions.push_back({static_cast<float>(c % 2), static_cast<float>(c), 0});
    sample.space.extra.assign(8, -1);
    views.push_back(recipe.make(sample, {0, 0, i, 0}));
  }
  return data::assemble(0, {0, 1, 2}, std::move(views), pool);
}

}  // namespace

TEST_CASE("targets take no gradient, and only what is trained is in the groups") {
  const auto pool = data::BufferPool::make(1);
  for (const auto mask : {data::MaskMode::kMultiblock, data::MaskMode::kMultiblockExact}) {
    const auto model = small(mask);
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
  plain.patches[0].blocks = 1;
  CHECK_THROWS_AS(small(data::MaskMode::kMultiblock)->loss(plain, {}), c10::ValueError);
}
