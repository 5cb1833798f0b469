#include <c10/core/GradMode.h>

#include "catch.h"
#include "nn/fused_blocks.h"
#include "nn/unet_blocks.h"
#include "ops/cpu/direct_conv.h"

using namespace sslmed;
using namespace sslmed::nn;

namespace {

constexpr double kSlope = 0.01;

FusedConv random_conv(std::int64_t in, std::int64_t out, const Axes& kernel, std::int64_t groups) {
  std::vector<std::int64_t> shape{out, in};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  return {at::randn(shape) * 0.2, at::rand({out}) + 0.5, at::randn({out}), groups};
}

at::Tensor layer_by_layer(const at::Tensor& x, const FusedConv& conv) {
  const std::vector<std::int64_t> ones(static_cast<std::size_t>(x.dim()) - 2, 1);
  auto padding = conv.weight.sizes().slice(2).vec();
  for (auto& cells : padding) cells /= 2;
  const auto weight = conv.weight.to(x.scalar_type());
  const auto maps = x.dim() == 5 ? at::conv3d(x, weight, {}, ones, padding) : at::conv2d(x, weight, {}, ones, padding);
  const auto normal = at::group_norm(maps, conv.groups, conv.scale.to(x.scalar_type()), conv.shift.to(x.scalar_type()));
  return at::leaky_relu(normal, kSlope);
}

}  // namespace

TEST_CASE("fused blocks give what their layers give one after the other") {
  if (!ops::cpu::has_direct_conv()) return;  // a processor without AVX-512 takes the layers
  const c10::NoGradGuard no_gradients;
  struct Case {
    std::vector<std::int64_t> size;
    Axes kernel;
    std::int64_t in, out, groups;
  };
  const std::vector<Case> cases{{{2, 3, 5, 6, 16}, {3, 3, 3}, 1, 8, 8}, {{1, 4, 1, 3, 48}, {3, 3, 3}, 4, 5, 1}, {{1, 3, 7, 4, 33}, {1, 3, 1}, 3, 12, 4},
                                {{2, 3, 9, 31}, {3, 3}, 3, 9, 3},       {{1, 2, 1, 16}, {3, 1}, 2, 32, 8},      {{1, 6, 4, 4, 100}, {3, 3, 3}, 6, 16, 16}};
  for (auto [size, kernel, in, out, groups] : cases) {
    if (size[2] == 7) size[4] = 30;  // a register and most of another
    size[1] = in;
    const auto first = random_conv(in, out, kernel, groups), second = random_conv(out, out, kernel, groups);
    const auto x = at::randn(size) + 3;
    REQUIRE(convolves_directly({x}, first.weight, Axes(kernel.size(), 1)));
    const auto expected = layer_by_layer(layer_by_layer(x.to(at::kDouble), first), second);
    CHECK((fused_block({x}, first, second, kSlope) - expected).abs().max().item<double>() < 2e-5);
    const auto parts = std::vector<at::Tensor>{x.narrow(1, 0, 1), x.narrow(1, 1, in - 1)};  // views of another tensor
    if (in > 1) CHECK((fused_block(parts, first, second, kSlope) - expected).abs().max().item<double>() < 2e-5);
    auto padding = kernel;
    for (auto& cells : padding) cells /= 2;
    const auto maps = x.dim() == 5 ? at::conv3d(x, first.weight, {}, 1, padding) : at::conv2d(x, first.weight, {}, 1, padding);
    CHECK((fused_block_of(maps, first, second, kSlope) - expected).abs().max().item<double>() < 2e-5);
  }
}

TEST_CASE("blocks are fused only where that is the same and faster") {
  const auto x = at::randn({1, 4, 6, 6, 32}), weight = at::randn({8, 4, 3, 3, 3});
  const Axes ones(3, 1);
  CHECK_FALSE(convolves_directly({x}, weight, ones));  // gradients are wanted
  const c10::NoGradGuard no_gradients;
  CHECK(convolves_directly({x}, weight, ones) == ops::cpu::has_direct_conv());
  CHECK_FALSE(convolves_directly({x}, weight, {1, 2, 1}));
  CHECK_FALSE(convolves_directly({x.to(at::kDouble)}, weight.to(at::kDouble), ones));
  CHECK_FALSE(convolves_directly({x}, at::randn({8, 4, 5, 3, 3}), ones));
  CHECK_FALSE(convolves_directly({x}, at::randn({64, 4, 3, 3, 3}), ones));              // libraries are as fast
  CHECK_FALSE(convolves_directly({x.narrow(4, 0, 20)}, weight, ones));                  // registers would be half empty
  CHECK_FALSE(convolves_directly({at::randn({1, 4, 64})}, at::randn({8, 4, 3}), {1}));  // of one axis
}

TEST_CASE("moments of parts join to those of the whole") {
  const auto x = at::randn({3, 4, 5, 37}) * 0.1 + 100;
  std::vector<ops::cpu::Moments> planes(12);
  ops::cpu::plane_moments(x.const_data_ptr<float>(), {4, 5, 37}, planes.data(), 0, 3);
  for (int c = 0; c < 3; ++c) {
    ops::cpu::Moments all;
    for (int z = 0; z < 4; ++z) all.join(planes[static_cast<std::size_t>(c * 4 + z)]);
    CHECK(all.count == 4 * 5 * 37);
    CHECK(all.mean == Approx(x[c].to(at::kDouble).mean().item<double>()));
    CHECK(all.squares / all.count == Approx(x[c].to(at::kDouble).var(false).item<double>()).epsilon(1e-3));
  }
}

TEST_CASE("transposed convolutions by products give what the library gives") {
  const c10::NoGradGuard no_gradients;
  for (const auto& stride : {Axes{2, 2, 2}, Axes{1, 2, 3}, Axes{2, 1, 1}}) {
    const auto x = at::randn({2, 5, 3, 4, 6}), weight = at::randn({5, 7, stride[0], stride[1], stride[2]});
    REQUIRE(upsamples_directly(x, weight, stride));
    CHECK(at::allclose(fused_upsample(x, weight, stride), at::conv_transpose3d(x, weight, {}, stride), 1e-5, 1e-5));
  }
  const auto x = at::randn({2, 5, 4, 6}), weight = at::randn({5, 3, 2, 2});
  CHECK(at::allclose(fused_upsample(x, weight, {2, 2}), at::conv_transpose2d(x, weight, {}, 2), 1e-5, 1e-5));
  const auto line = at::randn({2, 5, 6}), row = at::randn({5, 3, 2});
  CHECK(at::allclose(fused_upsample(line, row, {2}), at::conv_transpose1d(line, row, {}, 2), 1e-5, 1e-5));
}
