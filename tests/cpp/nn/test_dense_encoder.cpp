#include <map>

#include "catch.h"
#include "nn/decoder.h"
#include "nn/models.h"
#include "nn/resnet.h"

using namespace sslmed::nn;

namespace {

ModelConfig dense_config(const std::string& name, std::int64_t rank, std::int64_t in_chans = 2) {
  ModelConfig config;
  config.name = name, config.rank = rank, config.in_chans = in_chans, config.seed = 3;
  if (name.rfind("swin", 0) == 0) {
    config.options["embed_dim"] = std::int64_t{12};
    config.options["depths"] = std::vector<std::int64_t>{1, 1, 1, 1};
    config.options["window_size"] = std::int64_t{3};
  }
  if (name.rfind("sam", 0) == 0)
    for (const auto& [option, value] :
         std::map<std::string, std::int64_t>{{"img_size", 32}, {"patch_size", 8}, {"dim", 24}, {"depth", 2}, {"heads", 2}, {"out_chans", 12}})
      config.options[option] = value;
  return config;
}

at::Tensor dense_noise(std::int64_t rank, std::int64_t extent = 32, std::int64_t batch = 2) {
  std::vector<std::int64_t> shape{batch, 2};
  shape.insert(shape.end(), static_cast<std::size_t>(rank), extent);
  return at::randn(shape);
}

}  // namespace

TEST_CASE("every name of the table is an encoder whose maps are as it says, in any rank") {
  for (const auto& name : dense_names()) {
    if (name.find("resnet50") != std::string::npos) continue;  // the same code, in minutes
    for (std::int64_t rank = 1; rank <= 3; ++rank) {
      auto config = dense_config(name, rank);
      if (name.rfind("swin", 0) == 0) config.options["num_heads"] = std::vector<std::int64_t>{1, 2, 4, 8};
      const auto encoder = create_dense(config);
      const auto out = encoder->forward_view(DenseInput{dense_noise(rank), {}});
      const auto widths = encoder->widths(), strides = encoder->strides();
      REQUIRE(out.pyramid.size() == widths.size());
      REQUIRE(strides.size() == widths.size());
      for (std::size_t i = 0; i < widths.size(); ++i) {
        CHECK(out.pyramid[i].size(1) == widths[i]);
        for (std::int64_t axis = 2; axis < rank + 2; ++axis) CHECK(out.pyramid[i].size(axis) == (32 + strides[i] - 1) / strides[i]);
      }
      CHECK(encoder->shape().dim == widths.back());
      CHECK(out.tokens.size(1) == widths.back());
      CHECK(out.pooled.sizes() == at::IntArrayRef({2, widths.back()}));
    }
  }
}

TEST_CASE("patches, and masks that an encoder cannot take, are refused") {
  using Catch::Contains;
  const auto swin = create_dense(dense_config("swin_tiny", 2));
  PatchTokens patches;
  patches.values = at::zeros({4, 8}), patches.lengths = {4};
  CHECK_THROWS_WITH(swin->forward_view(patches), Contains("dense views") && Contains("got patches"));
  Context context;
  context.visible = at::ones({2, 1, 1}, at::kBool);
  CHECK_THROWS_WITH(swin->forward_view(DenseInput{dense_noise(2), {}}, context), Contains("cannot leave out cells"));
  const auto resnet = create_dense(dense_config("resnet10", 2));
  context.visible = at::ones({2, 1, 3}, at::kBool);
  CHECK_THROWS_WITH(resnet->forward_view(DenseInput{dense_noise(2), {}}, context), Contains("does not divide a map of [32, 32]"));
  context.visible = at::ones({2, 1, 1});
  CHECK_THROWS_WITH(resnet->forward_view(DenseInput{dense_noise(2), {}}, context), Contains("visible must be bool"));
}

TEST_CASE("cells that are not visible change nothing and are zero in every map") {
  for (std::int64_t rank = 1; rank <= 3; ++rank) {
    auto config = dense_config("resnet10", rank);
    config.options["zero_init_last"] = false;
    const auto encoder = create_dense(config);
    const auto x = dense_noise(rank, 64);
    std::vector<std::int64_t> grid{2};
    grid.insert(grid.end(), static_cast<std::size_t>(rank), 2);
    Context context;
    context.visible = at::zeros(grid, at::kBool);
    context.visible.flatten(1)[0][0] = true;
    context.visible.flatten(1)[1][1] = true;
    const auto seen = visible_at(context.visible, x.sizes().slice(2)).unsqueeze(1);
    const auto out = encoder->forward_view(DenseInput{x, {}}, context);
    const auto other = encoder->forward_view(DenseInput{at::where(seen, x, at::full_like(x, 7)), {}}, context);
    CHECK(at::equal(out.pooled, other.pooled));
    for (const auto& map : out.pyramid) {
      const auto hidden = visible_at(context.visible, map.sizes().slice(2)).logical_not().unsqueeze(1);
      CHECK((map * hidden).abs().max().item<float>() == 0);
      CHECK(map.abs().max().item<float>() > 0);
    }
    // The mean over what is seen, one cell a sample here.
    CHECK(at::allclose(out.pooled[1], out.pyramid.back()[1].flatten(1).select(1, 1), 1e-5, 1e-6));
    // With everything visible it is the plain network.
    context.visible = at::ones(grid, at::kBool);
    const auto all = encoder->forward_view(DenseInput{x, {}}, context), plain = encoder->forward_view(DenseInput{x, {}});
    CHECK(at::allclose(all.pooled, plain.pooled, 1e-4, 1e-5));
  }
}

TEST_CASE("statistics are taken over visible cells alone") {
  BatchNorm norm(2);
  const auto x = at::randn({3, 2, 8});
  auto visible = at::zeros({3, 8}, at::kBool);
  visible.narrow(1, 2, 3).fill_(true);
  const auto out = norm.forward(x, visible, Comm::alone());
  BatchNorm reference(2);
  const auto expected = reference.forward(x.narrow(2, 2, 3));
  CHECK(at::allclose(out.narrow(2, 2, 3), expected, 1e-5, 1e-6));
  CHECK(out.narrow(2, 0, 2).abs().max().item<float>() == 0);
  CHECK(out.narrow(2, 5, 3).abs().max().item<float>() == 0);
  CHECK(at::allclose(norm.running_var, reference.running_var));
}

TEST_CASE("a decoder brings a pyramid back to the size of the input, in any rank") {
  for (std::int64_t rank = 1; rank <= 3; ++rank) {
    for (const std::string name : {"resnet10", "swin_tiny"}) {
      const auto encoder = create_dense(dense_config(name, rank));
      std::vector<std::int64_t> shape{2, 2}, size{20, 17, 24};
      size.resize(static_cast<std::size_t>(rank));
      shape.insert(shape.end(), size.begin(), size.end());
      auto out = encoder->forward_view(DenseInput{at::randn(shape), {}});
      for (auto& map : out.pyramid) map = map.detach();
      for (const bool skips : {false, true}) {
        const ConvDecoder decoder({encoder->widths(), encoder->strides(), rank, 3, skips}, 1);
        const auto found = decoder.forward(out.pyramid, size, Rows::single(2));
        shape[1] = 3;
        CHECK(found.sizes() == at::IntArrayRef(shape));
        found.square().sum().backward();
        for (const auto& item : decoder.named_parameters()) CHECK(item.value().grad().defined());
        if (!skips) CHECK(at::equal(decoder.forward({out.pyramid.back()}, size, Rows::single(2)), found));
        if (skips) CHECK_THROWS_WITH(decoder.forward({out.pyramid.back()}, size, Rows::single(2)), Catch::Contains("pyramid has 1 maps"));
        // Samples do not interact.
        std::vector<at::Tensor> first;
        for (const auto& map : out.pyramid) first.push_back(map.narrow(0, 0, 1));
        const auto apart = (decoder.forward(first, size, Rows::single(1)) - found.narrow(0, 0, 1)).abs().max();
        CHECK(apart.item<float>() < 1e-4 * found.abs().max().item<float>());
      }
    }
  }
}

TEST_CASE("what a decoder cannot be is refused") {
  using Catch::Contains;
  const auto refused = [](const DecoderConfig& config, const std::string& text) { CHECK_THROWS_WITH(ConvDecoder(config, 0), Contains(text)); };
  refused({{}, {}, 2, 3, false}, "widths must hold");
  refused({{8, 16}, {2}, 2, 3, false}, "strides has 1 numbers");
  refused({{8, 0}, {2, 4}, 2, 3, false}, "widths=0");
  refused({{8, 16}, {4, 2}, 2, 3, false}, "strides must rise");
  refused({{8}, {2}, 4, 3, false}, "rank=4");
  refused({{8}, {2}, 2, 0, false}, "out_channels=0");
}
