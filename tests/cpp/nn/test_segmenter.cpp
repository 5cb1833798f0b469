#include <c10/core/GradMode.h>

#include <stdexcept>

#include "catch.h"
#include "nn/models.h"
#include "nn/segmenter.h"
#include "nn/unet.h"
#include "nn/vit.h"

using namespace sslmed::nn;

namespace {

std::shared_ptr<DenseEncoder> small_unet(std::int64_t rank, std::map<std::string, OptionValue> options = {}) {
  ModelConfig config;
  config.name = "unet", config.rank = rank, config.in_chans = 2, config.seed = 3;
  config.options = std::move(options);
  config.options.emplace("filters", std::vector<std::int64_t>{4, 8, 12});
  return create_dense(config);
}

at::Tensor small_input(std::int64_t rank, std::int64_t batch = 2) {
  std::vector<std::int64_t> shape{batch, 2};
  for (std::int64_t axis = 0; axis < rank; ++axis) shape.push_back(16 + 4 * axis);
  return at::randn(shape);
}

std::shared_ptr<Segmenter> with_decoder(std::shared_ptr<Encoder> encoder, const std::string& name, UnetStyle style = {}) {
  return std::make_shared<Segmenter>(std::move(encoder), SegmenterConfig{name, 3, 8, {}, style, 5});
}

}  // namespace

TEST_CASE("every decoder gives a class for each cell, and a gradient to each of its weights") {
  for (const std::int64_t rank : {1, 2, 3})
    for (const auto& name : decoder_names()) {
      const auto net = with_decoder(small_unet(rank), name, {4, false, false});
      const auto x = small_input(rank);
      const auto out = net->forward(x);
      auto expected = x.sizes().vec();
      expected[1] = 3;
      CHECK(out.sizes() == at::IntArrayRef(expected));
      out.square().sum().backward();
      for (const auto& item : net->decoder()->named_parameters()) {
        INFO(name << ", rank " << rank << ": " << item.key());
        CHECK(item.value().grad().defined());
      }
    }
}

TEST_CASE("a U-Net predicts without gradients what it gives with them") {
  for (const std::int64_t rank : {1, 2, 3})
    for (const bool residual : {false, true})
      for (const std::string norm : {"instance", "group"}) {
        const auto encoder = small_unet(rank, {{"residual", residual}, {"norm", norm}, {"attention", residual}});
        const auto net = with_decoder(encoder, "unet");
        const auto x = small_input(rank);
        const auto expected = net->forward(x).detach();
        const c10::NoGradGuard no_gradients;
        CHECK(at::allclose(net->forward(x), expected, 1e-4, 1e-4));
      }
}

TEST_CASE("samples of a batch do not see each other") {
  const auto net = with_decoder(small_unet(3), "unet");
  const auto x = small_input(3, 3);
  const c10::NoGradGuard no_gradients;
  const auto all = net->forward(x);
  for (int b = 0; b < 3; ++b) CHECK(at::allclose(all[b], net->forward(x.narrow(0, b, 1))[0], 1e-5, 1e-5));
}

TEST_CASE("the same seed gives the same weights, another one others") {
  const auto one = small_unet(2), two = small_unet(2);
  for (const auto& item : one->named_parameters()) CHECK(at::equal(item.value(), two->named_parameters()[item.key()]));
  const auto a = with_decoder(one, "upernet"), b = with_decoder(two, "upernet");
  const auto c = std::make_shared<Segmenter>(small_unet(2), SegmenterConfig{"upernet", 3, 8, {}, {}, 6});
  CHECK(at::equal(a->decoder()->parameters()[0], b->decoder()->parameters()[0]));
  CHECK_FALSE(at::equal(a->decoder()->parameters()[0], c->decoder()->parameters()[0]));
}

TEST_CASE("levels of a U-Net shrink by their strides") {
  const auto encoder = small_unet(3, {{"strides", std::vector<std::int64_t>{1, 1, 1, 1, 2, 2, 2, 2, 2}}});
  CHECK(encoder->strides() == std::vector<std::int64_t>{1, 2, 4});
  CHECK(encoder->axis_strides() == std::vector<Axes>{{1, 1, 1}, {1, 2, 2}, {2, 4, 4}});
  const auto x = at::randn({1, 2, 8, 8, 8});
  const auto maps = encoder->forward_dense(x, {}).pyramid;
  REQUIRE(maps.size() == 3);
  CHECK(maps[2].sizes() == at::IntArrayRef({1, 12, 4, 2, 2}));
  CHECK(with_decoder(encoder, "unet")->forward(x).sizes() == at::IntArrayRef({1, 3, 8, 8, 8}));
}

TEST_CASE("what does not fit a segmenter is refused") {
  CHECK_THROWS_WITH(with_decoder(small_unet(2), "deeplab"), Catch::Contains("deeplab"));
  CHECK_THROWS_WITH(std::make_shared<Segmenter>(small_unet(2), SegmenterConfig{"unet", 1, 8, {}, {}, 0}), Catch::Contains("classes=1"));
  CHECK_THROWS_WITH(std::make_shared<Segmenter>(small_unet(2), SegmenterConfig{"unet", 2, 8, {1}, {}, 0}), Catch::Contains("layers"));
  CHECK_THROWS_WITH(with_decoder(small_unet(2), "unet")->forward(at::zeros({1, 3, 8, 8})), Catch::Contains("expected a batch"));
  CHECK_THROWS_WITH(small_unet(2, {{"filters", std::vector<std::int64_t>{4}}}), Catch::Contains("filters"));
  CHECK_THROWS_WITH(small_unet(2, {{"kernel_size", std::vector<std::int64_t>{3, 3}}}), Catch::Contains("kernel_size has 2"));
}
