#include "catch.h"
#include "nn/cnn.h"

using namespace sslmed::nn;

namespace {

CnnConfig cnn_config(std::int64_t rank, std::int64_t in_chans = 2) {
  CnnConfig config;
  config.rank = rank, config.in_chans = in_chans, config.widths = {4, 6, 10};
  return config;
}

at::Tensor noise(std::int64_t rank, std::int64_t extent = 8) {
  std::vector<std::int64_t> shape{3, 2};
  shape.insert(shape.end(), static_cast<std::size_t>(rank), extent);
  return at::randn(shape);
}

}  // namespace

TEST_CASE("maps are halved stage by stage, and tokens are the cells of the last, in any rank") {
  for (std::int64_t rank = 1; rank <= 3; ++rank) {
    const ConvEncoder encoder(cnn_config(rank), 1);
    const auto out = encoder.forward_view(DenseInput{noise(rank), {}});
    REQUIRE(out.pyramid.size() == 3);
    std::int64_t extent = 4, cells = 1;
    for (std::size_t i = 0; i < 3; ++i, extent /= 2) {
      CHECK(out.pyramid[i].dim() == rank + 2);
      CHECK(out.pyramid[i].size(0) == 3);
      CHECK(out.pyramid[i].size(1) == cnn_config(rank).widths[i]);
      for (std::int64_t a = 0; a < rank; ++a) CHECK(out.pyramid[i].size(2 + a) == extent);
    }
    CHECK(out.tokens.sizes() == at::IntArrayRef({3 * cells, 10}));
    CHECK(out.lengths == Lengths(3, cells));
    CHECK(encoder.shape().dim == 10);
    CHECK(encoder.shape().depth == 0);
    CHECK_FALSE(out.class_token);
    // An odd extent is rounded up; the cells are row-major, and their mean is what is pooled.
    const auto odd = encoder.forward_view(DenseInput{noise(rank, 11), {}});
    CHECK(odd.pyramid[2].size(2) == 2);
    for (std::int64_t a = 0; a < rank; ++a) cells *= 2;
    CHECK(odd.lengths == Lengths(3, cells));
    CHECK(at::equal(odd.tokens.narrow(0, cells, cells), odd.pyramid[2][1].flatten(1).t()));
    CHECK(at::allclose(odd.pooled[1], odd.pyramid[2][1].flatten(1).mean(1), 1e-5, 1e-6));
    CHECK(odd.patches().is_same(odd.tokens));
    CHECK(odd.patch_lengths() == odd.lengths);
  }
}

TEST_CASE("a stage is a convolution, normalisation and ReLU under torch's names") {
  CnnConfig config = cnn_config(2);
  config.widths = {4};
  ConvEncoder encoder(config, 1);
  encoder.eval();
  const auto weight = encoder.named_parameters()["stages.0.conv.weight"];
  REQUIRE(weight.sizes() == at::IntArrayRef({4, 2, 3, 3}));
  CHECK(encoder.named_buffers().contains("stages.0.norm.running_mean"));
  const auto x = noise(2);
  const auto expected = at::relu(at::conv2d(x, weight, {}, 2, 1) / std::sqrt(1 + 1e-5));  // running statistics of a fresh norm: 0 and 1
  CHECK(at::allclose(encoder.forward_view(DenseInput{x, {}}).pyramid[0], expected, 1e-4, 1e-5));
  const ConvEncoder same(config, 1), other(config, 2);
  CHECK(at::equal(same.named_parameters()["stages.0.conv.weight"], weight));
  CHECK_FALSE(at::equal(other.named_parameters()["stages.0.conv.weight"], weight));
}

TEST_CASE("bytes are seen as parts of 255, and every weight takes a gradient") {
  ConvEncoder encoder(cnn_config(3), 1);
  const auto bytes = at::randint(0, 256, {3, 2, 8, 8, 8}, at::kByte);
  const auto out = encoder.forward_view(DenseInput{bytes, {}});
  CHECK(at::allclose(encoder.forward_view(DenseInput{bytes.to(at::kFloat) / 255, {}}).pooled, out.pooled, 1e-4, 1e-5));
  (out.pooled * at::randn({3, 10})).sum().backward();
  for (const auto& item : encoder.named_parameters()) CHECK(item.value().grad().defined());
}

TEST_CASE("what a convolutional encoder cannot take or be is refused") {
  using Catch::Contains;
  const ConvEncoder encoder(cnn_config(2), 1);
  PatchTokens patches;
  patches.values = at::zeros({4, 8}), patches.lengths = {4};
  CHECK_THROWS_WITH(encoder.forward_view(patches), Contains("dense views") && Contains("got patches"));
  CHECK_THROWS_WITH(encoder.forward_view(DenseInput{at::zeros({2, 2, 8, 8, 8}), {}}), Contains("[B, 2, 2 spatial axes]"));
  CHECK_THROWS_WITH(encoder.forward_view(DenseInput{at::zeros({2, 3, 8, 8}), {}}), Contains("got [2, 3, 8, 8]"));
  const auto refused = [](const auto& change, const std::string& name) {
    auto config = cnn_config(2);
    change(config);
    CHECK_THROWS_WITH(ConvEncoder(config, 0), Contains(name));
    CHECK_THROWS_AS(ConvEncoder(config, 0), c10::ValueError);
  };
  refused([](CnnConfig& config) { config.rank = 0; }, "rank=0 must be 1, 2 or 3");
  refused([](CnnConfig& config) { config.rank = 4; }, "rank=4 must be 1, 2 or 3");
  refused([](CnnConfig& config) { config.in_chans = 0; }, "in_chans=0 must be at least 1");
  refused([](CnnConfig& config) { config.widths = {}; }, "widths must hold");
  refused([](CnnConfig& config) { config.widths = {4, 0}; }, "widths=0 must be at least 1");
}
