#include "catch.h"
#include "nn/vit.h"

using namespace sslmed::nn;

namespace {
VitConfig small(Positions positions) {
  VitConfig config;
  config.dim = 24, config.depth = 2, config.heads = 2;
  config.positions = positions;
  config.patch_size = positions == Positions::kElectrode ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{4, 4};
  config.img_size = {8, 12};
  config.extra_channels = 2;
  return config;
}
}  // namespace

TEST_CASE("patches are (p, q, c), and patchify keeps every value") {
  const auto image = at::arange(2 * 3 * 4 * 6).view({2, 3, 4, 6}).to(at::kFloat);
  const auto patches = patchify(image, {2, 3});
  CHECK(patches.sizes() == at::IntArrayRef({2, 4, 18}));
  CHECK(patches[0][0][0].item<float>() == 0);
  CHECK(patches[0][0][1].item<float>() == 24);  // the next channel of the same pixel
  CHECK(patches[0][0][3].item<float>() == 1);   // then the next column
  CHECK(patches[0][1][0].item<float>() == 3);   // the next patch to the right
  CHECK(patches.sum().item<float>() == image.sum().item<float>());
  CHECK_THROWS_AS(patchify(image, {3, 3}), c10::ValueError);
  CHECK_THROWS_AS(patchify(image, {2}), c10::ValueError);
}

TEST_CASE("packed sequences equal single ones") {
  VisionTransformer vit(small(Positions::kElectrode), 3);
  PatchTokens all;
  all.values = at::randn({11, 8});
  all.coords = at::randn({11, 4}) * 40;
  all.channel = at::full({11}, -1, at::kLong);
  all.channel[2] = 1;
  all.lengths = {3, 5, 3};
  const auto out = vit.forward_tokens(all);
  CHECK(out.tokens.size(0) == 14);
  std::int64_t row = 0, sequence = 0;
  for (const auto n : all.lengths) {
    PatchTokens one;
    one.values = all.values.narrow(0, row, n);
    one.coords = all.coords.narrow(0, row, n);
    one.channel = all.channel.narrow(0, row, n);
    one.lengths = {n};
    CHECK(at::allclose(vit.forward_tokens(one).pooled[0], out.pooled[sequence], 1e-4, 1e-5));
    row += n;
    ++sequence;
  }
  all.lengths = {11, 0};
  CHECK_THROWS_AS(vit.forward_tokens(all), c10::ValueError);
  all.lengths = {};
  CHECK_THROWS_AS(vit.forward_tokens(all), c10::ValueError);
}

TEST_CASE("dense features, and what does not fit") {
  VisionTransformer vit(small(Positions::kLearned), 3);
  CHECK(vit.forward_features(at::randn({2, 1, 8, 12})).sizes() == at::IntArrayRef({2, 7, 24}));
  CHECK_THROWS_AS(vit.forward_features(at::randn({2, 3, 8, 12})), c10::ValueError);
  CHECK_THROWS_AS(vit.forward_features(at::randn({2, 1, 8, 8})), c10::ValueError);
  CHECK_THROWS_AS(named_vit("vit_giant"), c10::ValueError);
  auto config = small(Positions::kLearned);
  config.heads = 5;
  CHECK_THROWS_AS(VisionTransformer(config, 0), c10::ValueError);
}
