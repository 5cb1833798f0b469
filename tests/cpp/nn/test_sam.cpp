#include "catch.h"
#include "nn/models.h"
#include "nn/sam.h"

using namespace sslmed::nn;

namespace {

SamConfig small_sam(std::int64_t rank) {
  SamConfig config;
  config.dim = 12, config.depth = 2, config.heads = 2, config.mlp_dim = 24, config.window = 3, config.out_chans = 6;
  config.global_blocks = {1};
  config.patch_size.assign(static_cast<std::size_t>(rank), 2);
  config.img_size.assign(static_cast<std::size_t>(rank), 8);
  return config;
}

DenseShape of_rank(std::int64_t rank) {
  DenseShape shape;
  shape.rank = rank, shape.in_chans = 1;
  return shape;
}

}  // namespace

TEST_CASE("a map of any rank has one feature vector a patch") {
  for (std::int64_t rank = 1; rank <= 3; ++rank) {
    const SamEncoder sam(of_rank(rank), small_sam(rank), 3);
    std::vector<std::int64_t> shape{2, 1}, cells{2, 6};
    shape.insert(shape.end(), static_cast<std::size_t>(rank), 8);
    cells.insert(cells.end(), static_cast<std::size_t>(rank), 4);
    const auto out = sam.forward_view(DenseInput{at::randn(shape), {}});
    CHECK(out.pyramid.back().sizes() == at::IntArrayRef(cells));
    CHECK(out.pooled.sizes() == at::IntArrayRef({2, 6}));
    std::int64_t tables = 0;
    for (const auto& item : sam.named_parameters())
      if (item.key().find("rel_pos_") != std::string::npos) {
        ++tables;
        CHECK(item.value().abs().max().item<float>() == 0);
      }
    CHECK(tables == 2 * rank);
  }
}

TEST_CASE("relative positions are added to the logits from the unscaled query") {
  const std::int64_t heads = 2, head_dim = 3;
  const std::vector<std::int64_t> extents{2, 3};
  const auto qkv = at::randn({2, 6, 3 * heads * head_dim}, at::kDouble);
  const std::vector<at::Tensor> tables{at::randn({3, head_dim}, at::kDouble), at::randn({5, head_dim}, at::kDouble)};
  const auto found = relative_attention(qkv, tables, extents, Rows::single(2), heads).view({2, 6, heads, head_dim});
  const auto split = qkv.view({2, 6, 3, heads, head_dim});
  for (std::int64_t h = 0; h < heads; ++h) {
    const auto q = split.select(2, 0).select(2, h)[1], k = split.select(2, 1).select(2, h)[1], v = split.select(2, 2).select(2, h)[1];
    auto logits = at::matmul(q, k.t()) / std::sqrt(3.0);
    for (std::int64_t i = 0; i < 6; ++i)
      for (std::int64_t j = 0; j < 6; ++j) logits[i][j] += at::dot(q[i], tables[0][i / 3 - j / 3 + 1]) + at::dot(q[i], tables[1][i % 3 - j % 3 + 2]);
    CHECK(at::allclose(found[1].select(1, h), at::matmul(logits.softmax(-1), v), 1e-10, 1e-12));
  }
}

TEST_CASE("blocks over windows do not see each other's windows") {
  auto config = small_sam(1);
  config.global_blocks = {};
  config.img_size = {12};
  const SamEncoder sam(of_rank(1), config, 3);
  auto x = at::randn({1, 1, 12});
  const auto before = sam.forward_features(x).clone();
  x.narrow(2, 10, 2).add_(1);  // the last patch, in the second window
  const auto changed = (sam.forward_features(x) - before).abs().amax(1)[0];
  CHECK(changed[0].item<float>() == 0);  // the neck reaches one cell further than the window
  CHECK(changed[1].item<float>() == 0);
  CHECK(changed[5].item<float>() > 0);
}

TEST_CASE("encoders of SAM are made by name, and what does not fit is refused") {
  ModelConfig config;
  config.name = "sam_vit_base";
  config.options = {{"dim", std::int64_t{12}}, {"depth", std::int64_t{4}}, {"heads", std::int64_t{2}}, {"img_size", std::int64_t{32}}};
  const auto sam = std::dynamic_pointer_cast<SamEncoder>(create_dense(config));
  REQUIRE(sam);
  CHECK(sam->config().global_blocks == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(sam->shape().depth == 4);
  const auto refused = [](const auto& change, const std::string& text) {
    auto bad = small_sam(2);
    change(bad);
    CHECK_THROWS_WITH(SamEncoder(of_rank(2), bad, 0), Catch::Contains(text));
    CHECK_THROWS_AS(SamEncoder(of_rank(2), bad, 0), c10::ValueError);
  };
  refused([](SamConfig& c) { c.depth = 0; }, "depth=0");
  refused([](SamConfig& c) { c.heads = 5; }, "heads=5");
  refused([](SamConfig& c) { c.window = 0; }, "window=0");
  refused([](SamConfig& c) { c.out_chans = 0; }, "out_chans=0");
  refused([](SamConfig& c) { c.mlp_dim = -1; }, "mlp_dim=-1");
  refused([](SamConfig& c) { c.img_size = {8, 9}; }, "img_size=9");
  refused([](SamConfig& c) { c.patch_size = {2}; }, "patch_size");
  refused([](SamConfig& c) { c.global_blocks = {2}; }, "global_blocks has 2");
  const SamEncoder small(of_rank(2), small_sam(2), 0);
  Context context;
  context.drop_path = at::ones({2, 1});
  CHECK_THROWS_WITH(small.forward_view(DenseInput{at::randn({1, 1, 8, 8}), {}}, context), Catch::Contains("drop_path"));
}
