#include <cmath>

#include "catch.h"
#include "methods/distill.h"
#include "nn/cnn.h"
#include "small.h"

using namespace sslmed;

namespace {

std::shared_ptr<nn::ConvEncoder> volume_encoder(std::vector<std::int64_t> widths, std::uint64_t seed) {
  nn::CnnConfig config;
  config.rank = 3, config.in_chans = 1, config.widths = std::move(widths);
  return std::make_shared<nn::ConvEncoder>(config, seed);
}

data::Batch dense_batch() {
  static const toy::RampSource source(4);
  static const data::GridRecipe dense({data::GridView{}});
  return testing::batch_of({{&source, &dense}}, 4);
}

}  // namespace

TEST_CASE("a teacher is no part of the objective, and keeps its statistics") {
  const auto teacher = volume_encoder({8}, 2);
  methods::Distill distill(volume_encoder({4}, 1), teacher, {});
  for (const auto& item : distill.named_parameters()) CHECK(item.key().find("teacher") == std::string::npos);
  CHECK(distill.named_parameters().size() == distill.encoder()->named_parameters().size() + 2);
  distill.train(true);
  CHECK(distill.encoder()->is_training());
  CHECK_FALSE(teacher->is_training());
  const auto before = teacher->named_buffers()["stages.0.norm.running_mean"].clone();
  const auto loss = distill.loss(dense_batch(), {});
  loss.total.backward();
  CHECK(at::equal(before, teacher->named_buffers()["stages.0.norm.running_mean"]));
  for (const auto& parameter : teacher->parameters()) CHECK_FALSE(parameter.grad().defined());
  for (const auto& parameter : distill.parameters()) CHECK(parameter.grad().defined());
  CHECK(loss.weight == 4);
  CHECK(loss.features.sizes() == at::IntArrayRef({4, 4}));
}

TEST_CASE("the teacher follows the student's number type") {
  const auto teacher = volume_encoder({8}, 2);
  methods::Distill distill(volume_encoder({4}, 1), teacher, {});
  distill.to(at::kDouble);
  CHECK(distill.loss(dense_batch(), {}).total.scalar_type() == at::kDouble);
  CHECK(teacher->parameters().front().scalar_type() == at::kDouble);
}

TEST_CASE("a student that equals its teacher has no cosine distance, and an error of what normalization changes") {
  const auto teacher = volume_encoder({6}, 2);
  const auto batch = dense_batch();
  for (const auto kind : {methods::DistillLoss::kCosine, methods::DistillLoss::kMse}) {
    methods::DistillOptions options;
    options.loss = kind;
    methods::Distill distill(volume_encoder({6}, 2), teacher, options);
    distill.train(false);
    const at::NoGradGuard guard;
    auto parameters = distill.named_parameters();
    parameters["projection.mlp.0.weight"].copy_(at::eye(6));
    parameters["projection.mlp.0.bias"].zero_();
    const auto features = teacher->forward_view(methods::input_of(batch.views.at(0))).pooled;
    const auto expected = kind == methods::DistillLoss::kCosine ? at::zeros({}) : (features - at::layer_norm(features, {6})).square().mean();
    CHECK(std::abs(distill.loss(batch, {}).total.item<double>() - expected.item<double>()) < 1e-5);
  }
}

TEST_CASE("tokens move between grids as torch interpolates") {
  const auto tokens = at::randn({12, 5});
  CHECK(methods::resample_tokens(tokens, {3, 4}, {3, 4}).is_same(tokens));
  const auto found = methods::resample_tokens(tokens, {3, 4}, {6, 2});
  const auto map = tokens.t().reshape({1, 5, 3, 4}).contiguous();
  CHECK(at::allclose(found, at::upsample_bilinear2d(map, {6, 2}, false).flatten(2)[0].t()));
  CHECK_THROWS_WITH(methods::resample_tokens(tokens, {12}, {3, 4}), Catch::Contains("grids of 1 and 2 axes"));
}

TEST_CASE("what does not fit is refused") {
  const auto encoder = volume_encoder({4}, 1);
  CHECK_THROWS_WITH(methods::Distill(encoder, encoder, {}), Catch::Contains("must be another encoder"));
  CHECK_THROWS_WITH(methods::Distill(encoder, nullptr, {}), Catch::Contains("needs an encoder and a teacher"));
  methods::DistillOptions options;
  options.token_weight = -1;
  CHECK_THROWS_WITH(methods::Distill(encoder, volume_encoder({4}, 2), options), Catch::Contains("token_weight=-1"));
}
