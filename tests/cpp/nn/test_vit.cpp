#include "catch.h"
#include "nn/vit.h"
#include "small_vit.h"

using namespace sslmed::nn;
namespace testing = sslmed::testing;

namespace {

VitConfig vit_config(Positions positions) {
  VitConfig config;
  config.dim = 24, config.depth = 2, config.heads = 2;
  auto& embedding = config.embedding;
  embedding.positions = positions;
  embedding.patch_size = positions == Positions::kCoordinates ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{4, 4};
  embedding.img_size = {8, 12};
  embedding.extra_channels = 2;
  embedding.radius = 95;
  return config;
}

// Two recordings of 3 and 5 tokens.
PatchTokens eeg_tokens() {
  PatchTokens tokens;
  tokens.key = testing::eeg_embedding().key();
  tokens.values = at::randn({8, 8});
  tokens.coords = at::randn({8, 4}) * 40;
  tokens.lengths = {3, 5};
  return tokens;
}

// Parts of two volumes, of 2³ and of 2 × 2 × 3 cells.
PatchTokens ramp_tokens() {
  PatchTokens tokens;
  tokens.key = testing::ramp_embedding().key();
  tokens.values = at::randn({5, 64});
  tokens.grid = at::tensor({0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 2, 1, 1, 0}, at::kInt).view({5, 3});
  tokens.extents = at::tensor({2, 2, 2, 2, 2, 3}, at::kInt).view({2, 3});
  tokens.lengths = {3, 2};
  return tokens;
}

VitConfig with_ramps() {
  auto config = testing::small_vit(2);
  config.more = {testing::ramp_embedding()};
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
  VisionTransformer vit(vit_config(Positions::kCoordinates), 3);
  PatchTokens all;
  all.values = at::randn({11, 8});
  all.coords = at::randn({11, 4}) * 40;
  all.channel = at::full({11}, -1, at::kLong);
  all.channel[2] = 1;
  all.lengths = {3, 5, 3};
  const auto out = vit.forward_view(all);
  CHECK(out.tokens.size(0) == 14);
  CHECK(out.lengths == Lengths{4, 6, 4});
  CHECK(out.patch_lengths() == all.lengths);
  CHECK(out.class_token);
  CHECK(out.pyramid.empty());
  std::int64_t row = 0, sequence = 0;
  for (const auto n : all.lengths) {
    PatchTokens one;
    one.values = all.values.narrow(0, row, n);
    one.coords = all.coords.narrow(0, row, n);
    one.channel = all.channel.narrow(0, row, n);
    one.lengths = {n};
    CHECK(at::allclose(vit.forward_view(one).pooled[0], out.pooled[sequence], 1e-4, 1e-5));
    row += n;
    ++sequence;
  }
  all.lengths = {11, 0};
  CHECK_THROWS_AS(vit.forward_view(all), c10::ValueError);
  all.lengths = {};
  CHECK_THROWS_AS(vit.forward_view(all), c10::ValueError);
}

TEST_CASE("dense features, and what does not fit") {
  VisionTransformer vit(vit_config(Positions::kLearned), 3);
  const auto images = at::randn({2, 1, 8, 12});
  CHECK(vit.forward_features(images).sizes() == at::IntArrayRef({2, 7, 24}));
  CHECK(at::equal(vit.forward_view(DenseInput{images, {}}).tokens, vit.forward_features(images).flatten(0, 1)));
  CHECK_THROWS_AS(vit.forward_features(at::randn({2, 3, 8, 12})), c10::ValueError);
  CHECK(vit.forward_features(at::randn({2, 1, 8, 8})).sizes() == at::IntArrayRef({2, 5, 24}));  // positions are resampled
  CHECK_THROWS_AS(vit.forward_features(at::randn({2, 1, 8, 10})), c10::ValueError);
  CHECK_THROWS_AS(named_vit("vit_giant"), c10::ValueError);
  auto config = vit_config(Positions::kLearned);
  config.heads = 5;
  CHECK_THROWS_AS(VisionTransformer(config, 0), c10::ValueError);
  CHECK_THROWS_WITH(VisionTransformer(vit_config(Positions::kCoordinates), 0).forward_features(images), Catch::Contains("coordinates"));
}

TEST_CASE("adding a modality leaves the first one's weights and outputs as they are, bit for bit") {
  const VisionTransformer alone(testing::small_vit(2), 7), both(with_ramps(), 7);
  std::size_t added = 0;
  const auto known = alone.named_parameters();  // find() points into it
  for (const auto& item : both.named_parameters()) {
    const auto* own = known.find(item.key());
    if (own == nullptr) {
      CHECK(item.key().rfind("embeddings.ramps.", 0) == 0);
      ++added;
    } else {
      CHECK(at::equal(*own, item.value()));
    }
  }
  CHECK(added == 3);  // a weight, a bias and a table
  const auto tokens = eeg_tokens();
  CHECK(at::equal(alone.forward_view(tokens).tokens, both.forward_view(tokens).tokens));
  // Nor do the later ones depend on each other.
  auto other = testing::ramp_embedding();
  other.modality = "others";
  auto config = with_ramps();
  config.more.insert(config.more.begin(), other);
  const VisionTransformer three(config, 7);
  for (const auto& item : both.named_parameters()) CHECK(at::equal(item.value(), three.named_parameters()[item.key()]));
  CHECK_FALSE(at::equal(three.named_parameters()["embeddings.others.pos_embed"], three.named_parameters()["embeddings.ramps.pos_embed"]));
  const auto ramps = ramp_tokens();
  CHECK(at::equal(both.forward_view(ramps).tokens, three.forward_view(ramps).tokens));
}

TEST_CASE("two modalities in one pass are two passes") {
  const VisionTransformer vit(with_ramps(), 7);
  const auto eeg = eeg_tokens(), ramps = ramp_tokens();
  const auto both = vit.forward_views({eeg, ramps}), first = vit.forward_view(eeg), second = vit.forward_view(ramps);
  CHECK(both.lengths == Lengths{4, 6, 4, 3});
  CHECK((both.tokens - at::cat({first.tokens, second.tokens})).abs().max().item<double>() <= 1e-5);
  CHECK((both.pooled - at::cat({first.pooled, second.pooled})).abs().max().item<double>() <= 1e-5);
  const auto turned = vit.forward_views({ramps, eeg});
  CHECK((turned.pooled - at::cat({second.pooled, first.pooled})).abs().max().item<double>() <= 1e-5);
  // Dropped paths are counted in the same order: all of the second view's branches.
  Context context;
  context.drop_path = at::ones({4, 4});
  context.drop_path.narrow(1, 2, 2).zero_();
  const auto dropped = vit.forward_views({eeg, ramps}, context);
  CHECK((dropped.pooled.narrow(0, 0, 2) - first.pooled).abs().max().item<double>() <= 1e-5);
  CHECK_FALSE(at::allclose(dropped.pooled.narrow(0, 2, 2), second.pooled, 1e-2, 1e-2));
  context.drop_path = at::ones({4, 3});
  CHECK_THROWS_WITH(vit.forward_views({eeg, ramps}, context), Catch::Contains("drop_path must be [4, 4]"));
  CHECK_THROWS_WITH(vit.forward_views({}), Catch::Contains("an empty batch"));
}

TEST_CASE("a batch of another kind is refused by what it has and what the encoder has") {
  const VisionTransformer vit(with_ramps(), 7);
  auto tokens = eeg_tokens();
  tokens.key.modality = "slides";
  CHECK_THROWS_WITH(vit.forward_view(tokens), Catch::Contains("eeg, patches of 8 with 1 channel") &&
                                                  Catch::Contains("ramps, patches of 4 x 4 x 4 with 1 channel") &&
                                                  Catch::Contains("the batch has slides, patches of 8"));
  tokens = eeg_tokens();
  tokens.key.patch = {16};
  CHECK_THROWS_WITH(vit.forward_view(tokens), Catch::Contains("the batch has eeg, patches of 16"));
  tokens.key = {};  // tokens that do not say are the first embedding's
  CHECK(vit.forward_view(tokens).lengths == Lengths{4, 6});
  CHECK_THROWS_WITH(vit.embedding_of("slides"), Catch::Contains("'slides'"));
  CHECK(vit.embedding_of("ramps").config().patch_values() == 64);
  auto config = with_ramps();
  config.more.push_back(testing::ramp_embedding());
  CHECK_THROWS_WITH(VisionTransformer(config, 0), Catch::Contains("'ramps' has two embeddings"));
  config = with_ramps();
  config.more[0].modality = "eeg";
  CHECK_THROWS_WITH(VisionTransformer(config, 0), Catch::Contains("'eeg' has two embeddings"));
}

TEST_CASE("an encoder that cannot be is refused, each with the name of its parameter") {
  const auto refused = [](const auto& change, const std::string& name) {
    auto config = vit_config(Positions::kLearned);
    change(config);
    CHECK_THROWS_WITH(VisionTransformer(config, 0), Catch::Contains(name));
    CHECK_THROWS_AS(VisionTransformer(config, 0), c10::ValueError);
  };
  refused([](VitConfig& config) { config.depth = 0; }, "depth must be positive, got 0");
  refused([](VitConfig& config) { config.dim = 25; }, "dim=25 must be a positive multiple of heads=2");
  refused([](VitConfig& config) { config.num_classes = -1; }, "num_classes must not be negative");
  refused([](VitConfig& config) { config.lora.rank = -1; }, "lora_rank must not be negative");
  refused([](VitConfig& config) { config.lora.alpha = -1; }, "lora_alpha must not be negative");
  refused([](VitConfig& config) { config.registers = -1; }, "registers must not be negative");
  refused([](VitConfig& config) { config.layer_scale = -1; }, "layer_scale must be 0 (none) or positive");
  refused([](VitConfig& config) { config.mlp_dim = -1; }, "mlp_dim must be 0");
  refused([](VitConfig& config) { config.norm_eps = 0; }, "norm_eps must be positive");
  refused([](VitConfig& config) { config.embedding.positions = Positions::kRope, config.dim = 12; }, "positions='rope' of 2 axes needs");
  refused([](VitConfig& config) { config.embedding.patch_size = {}; }, "patch_size must have an entry");
  refused([](VitConfig& config) { config.embedding.patch_size = {4}; }, "patch_size has 1 axes and img_size 2");
  refused([](VitConfig& config) { config.embedding.patch_size = {4, 0}; }, "patch_size must be positive, got 0");
  refused([](VitConfig& config) { config.embedding.img_size = {8, 13}; }, "img_size=13 is not a multiple of patch_size=4");
  refused([](VitConfig& config) { config.embedding.in_chans = 0; }, "in_chans must be positive");
  refused([](VitConfig& config) { config.embedding.extra_channels = -1; }, "extra_channels must not be negative");
  refused([](VitConfig& config) { config.embedding.pixel_mean = {0, 0}; }, "pixel_mean has 2 numbers");
  refused([](VitConfig& config) { config.embedding.pixel_std = {1, 1}; }, "pixel_std has 2 numbers");
  refused([](VitConfig& config) { config.embedding.pixel_std = {0}; }, "pixel_std must be positive");
}

TEST_CASE("rotary positions follow the cells of the visible tokens") {
  auto config = vit_config(Positions::kRope);
  config.registers = 2, config.layer_scale = 0.5, config.mlp = Mlp::kSwiGlu;
  const VisionTransformer vit(config, 3);
  const auto whole = vit.tokens_of(at::randn({2, 1, 8, 12}));  // grids of 2 x 3
  const auto rows = at::tensor({1, 5, 6, 8}, at::kLong);       // cells 1, 5 and 0, 2
  auto by_position = whole, by_grid = whole;
  by_position.position = at::arange(6, at::kLong).repeat({2});
  const auto cells = at::stack({by_position.position.floor_divide(3), by_position.position.remainder(3)}, 1);
  by_grid.grid = cells.to(at::kInt);
  by_grid.extents = at::tensor({2, 3, 2, 3}, at::kInt).view({2, 2});
  const auto seen = vit.forward_view(by_position.select(rows, {2, 2}));
  CHECK(at::equal(seen.tokens, vit.forward_view(by_grid.select(rows, {2, 2})).tokens));
  CHECK(seen.lengths == Lengths{5, 5});
  CHECK(seen.prefix() == 3);
  CHECK(seen.patch_lengths() == Lengths{2, 2});
  CHECK(seen.patches().size(0) == 4);
  CHECK(at::allclose(seen.pooled[0], seen.patches().narrow(0, 0, 2).mean(0), 1e-5, 1e-6));
  // Other cells, other features.
  auto moved = by_grid.select(rows, {2, 2});
  moved.grid = moved.grid.clone();
  moved.grid[0][0] = 1;
  CHECK_FALSE(at::allclose(vit.forward_view(moved).tokens.narrow(0, 0, 5), seen.tokens.narrow(0, 0, 5), 1e-3, 1e-4));
  CHECK(at::allclose(vit.forward_view(moved).tokens.narrow(0, 5, 5), seen.tokens.narrow(0, 5, 5), 1e-4, 1e-5));
  auto cut = whole;
  cut.lengths = {5, 7};
  CHECK_THROWS_WITH(vit.forward_view(cut), Catch::Contains("the encoder's grid has 6"));
}

TEST_CASE("rotary positions and coordinates share an encoder") {
  auto config = with_ramps();
  config.more[0].positions = Positions::kRope;
  config.heads = 3;  // a head width of 8
  CHECK_THROWS_WITH(VisionTransformer(config, 7), Catch::Contains("positions='rope' of 3 axes"));
  config.heads = 4;  // a head width of 6
  config.registers = 1;
  const VisionTransformer vit(config, 7);
  const auto eeg = eeg_tokens(), ramps = ramp_tokens();
  const auto both = vit.forward_views({eeg, ramps}), first = vit.forward_view(eeg), second = vit.forward_view(ramps);
  CHECK((both.tokens - at::cat({first.tokens, second.tokens})).abs().max().item<double>() <= 1e-5);
}

TEST_CASE("angles of rotary positions are odd in the middle of the grid and leave lengths") {
  PatchTokens tokens;
  tokens.values = at::zeros({4, 1});
  tokens.lengths = {4};
  const auto turn = rotation_of(tokens, {4}, 6);
  CHECK(turn.cos.sizes() == at::IntArrayRef({4, 6}));
  CHECK(at::allclose(turn.cos[0], turn.cos[3]));
  CHECK(at::allclose(turn.sin[0], -turn.sin[3]));
  const auto qkv = at::randn({4, 36}, at::kDouble);
  const auto out = rotate(qkv, turn, 2);
  CHECK(at::equal(out.narrow(1, 24, 12), qkv.narrow(1, 24, 12)));
  CHECK(at::allclose(out.view({4, 6, 6}).norm(2, -1), qkv.view({4, 6, 6}).norm(2, -1)));
  CHECK(at::equal(rotate(qkv, {}, 2), qkv));
  CHECK_THROWS_WITH(rotation_of(tokens, {2, 2}, 6), Catch::Contains("that 4 divides, got 6"));
}
