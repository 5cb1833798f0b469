#include "catch.h"
#include "nn/cnn.h"
#include "nn/slices.h"

using namespace sslmed::nn;

namespace {

std::shared_ptr<ConvEncoder> flat_encoder() {
  CnnConfig config;
  config.rank = 2, config.in_chans = 1, config.widths = {4, 6};
  return std::make_shared<ConvEncoder>(config, 1);
}

SliceConfig slices(std::vector<std::int64_t> axes, std::int64_t chunk = 0) {
  SliceConfig config;
  config.axes = std::move(axes), config.chunk = chunk;
  return config;
}

}  // namespace

TEST_CASE("slices are as far from one end as from the other") {
  auto config = slices({0});
  config.stride = 4;
  const SliceEncoder encoder(flat_encoder(), config);
  CHECK(encoder.places(9) == std::vector<std::int64_t>{0, 4, 8});
  CHECK(encoder.places(11) == std::vector<std::int64_t>{1, 5, 9});
  CHECK(encoder.places(3) == std::vector<std::int64_t>{1});
}

TEST_CASE("every slice goes through the encoder, with the sample that it is of") {
  const auto inner = flat_encoder();
  inner->train(false);
  SliceEncoder encoder(inner, slices({2}, 3));
  encoder.train(false);
  const auto volumes = at::randn({2, 1, 8, 8, 5});
  Context context;
  context.samples = {7, 3};
  const auto out = encoder.forward_view(DenseInput{volumes, {}}, context);
  REQUIRE(out.lengths == Lengths{5, 5});
  CHECK(out.pyramid.empty());
  CHECK_FALSE(out.class_token);
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t d = 0; d < 5; ++d) {
      const auto one = inner->forward_view(DenseInput{volumes[b].select(3, d).unsqueeze(0), {}}).pooled[0];
      CHECK(at::allclose(out.tokens[5 * b + d], one, 1e-5, 1e-6));
    }
  }
  CHECK(at::allclose(out.pooled, out.tokens.view({2, 5, 6}).mean(1), 1e-5, 1e-6));
}

TEST_CASE("an encoder of slices says what it is, and hands gathers on") {
  const auto inner = flat_encoder();
  SliceEncoder encoder(inner, slices({0, 1, 2}));
  CHECK(encoder.shape().dim == 18);
  CHECK(encoder.shape().depth == 0);
  CHECK(encoder.gathers());
  encoder.train(false);
  CHECK_FALSE(encoder.gathers());
  CHECK(encoder.named_parameters().contains("encoder.stages.0.conv.weight"));
  // A rank may have no samples.
  const auto none = encoder.forward_view(DenseInput{at::zeros({0, 1, 8, 8, 8}), {}});
  CHECK(none.pooled.sizes() == at::IntArrayRef({0, 18}));
  CHECK(none.tokens.sizes() == at::IntArrayRef({0, 18}));
}

TEST_CASE("bytes stay bytes, also where slices are resampled") {
  auto config = slices({0});
  config.slice_size = {4, 4};
  const auto inner = flat_encoder();
  SliceEncoder encoder(inner, config);
  encoder.train(false);
  const auto volumes = at::randint(0, 256, {1, 1, 3, 8, 8}, at::kByte);
  const auto out = encoder.forward_view(DenseInput{volumes, {}});
  const auto small = at::_upsample_bilinear2d_aa(volumes[0].transpose(0, 1).to(at::kFloat), {4, 4}, false, std::nullopt, std::nullopt);
  const auto expected = inner->forward_view(DenseInput{small.round() / 255, {}}).pooled;
  CHECK(at::allclose(out.tokens, expected, 1e-5, 1e-6));
}
