#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "catch.h"
#include "nn/functional.h"
#include "nn/linear.h"

using namespace sslmed::nn;

namespace {

// Largest difference relative to the largest value.
double apart(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).abs().max() / b.to(at::kDouble).abs().max()).item<double>();
}

at::Tensor leaf(at::IntArrayRef sizes) { return at::randn(sizes).requires_grad_(); }

}  // namespace

TEST_CASE("through oneDNN a linear layer and its gradients are those of float64") {
  at::manual_seed(0);
  struct Shape {
    std::vector<std::int64_t> x;
    std::int64_t out;
    bool bias;
  };
  for (const auto& [sizes, out, with_bias] :
       {Shape{{70, 33}, 50, true}, {{70, 50}, 33, true}, {{3, 1, 5, 16}, 16, true}, {{64, 8}, 1, false}, {{1, 20}, 7, true}}) {
    const auto x = leaf(sizes), weight = leaf({out, sizes.back()}), bias = with_bias ? leaf({out}) : at::Tensor();
    const auto y = linear_by_onednn(x, weight, bias);
    const auto exact_x = x.detach().to(at::kDouble).requires_grad_(), exact_weight = weight.detach().to(at::kDouble).requires_grad_();
    const auto exact_bias = with_bias ? bias.detach().to(at::kDouble).requires_grad_() : at::Tensor();
    const auto exact = at::linear(exact_x, exact_weight, exact_bias);
    REQUIRE(y.sizes() == exact.sizes());
    CHECK(apart(y, exact) < 1e-6);
    const auto grad = at::randn(y.sizes());
    torch::autograd::variable_list inputs{x, weight}, exact_inputs{exact_x, exact_weight};
    if (with_bias) inputs.push_back(bias), exact_inputs.push_back(exact_bias);
    const auto grads = torch::autograd::grad({y}, inputs, {grad}), exact_grads = torch::autograd::grad({exact}, exact_inputs, {grad.to(at::kDouble)});
    for (std::size_t i = 0; i < grads.size(); ++i) {
      REQUIRE(grads[i].sizes() == exact_grads[i].sizes());
      CHECK(apart(grads[i], exact_grads[i]) < 2e-6);
    }
  }
}

TEST_CASE("through oneDNN only what is asked for is differentiated, and once") {
  const auto x = at::randn({8, 4}), weight = leaf({3, 4});
  const auto y = linear_by_onednn(x, weight, {});
  CHECK(y.requires_grad());
  y.sum().backward();  // whose gradient has strides of zero
  CHECK_FALSE(x.grad().defined());
  CHECK(apart(weight.grad(), x.sum(0).expand({3, 4})) < 1e-6);
  CHECK_FALSE(linear_by_onednn(x, weight.detach(), {}).requires_grad());
  const auto again = linear_by_onednn(leaf({8, 4}), weight, {}).square().sum();
  CHECK_THROWS_WITH(torch::autograd::grad({again}, {weight}, {}, std::nullopt, true), Catch::Contains("only once"));
}

TEST_CASE("through oneDNN the same numbers give the same bits") {
  const auto x = at::randn({1500, 192}), grad = at::randn({1500, 576});
  std::vector<at::Tensor> first;
  for (int i = 0; i < 3; ++i) {
    const auto input = x.clone().requires_grad_();
    const auto weight = at::ones({576, 192}).mul_(0.1).requires_grad_();
    const auto y = linear_by_onednn(input, weight, {});
    y.backward(grad);
    if (i == 0) first = {y, input.grad(), weight.grad()};
    CHECK(at::equal(y, first[0]));
    CHECK(at::equal(input.grad(), first[1]));
    CHECK(at::equal(weight.grad(), first[2]));
  }
}

TEST_CASE("small layers, other types and autocast keep PyTorch's way") {
  const auto x = at::randn({2048, 256}), weight = at::randn({256, 256});
  CHECK_FALSE(prefers_onednn(x.narrow(0, 0, 16), weight));
  CHECK_FALSE(prefers_onednn(x.to(at::kDouble), weight.to(at::kDouble)));
  CHECK_FALSE(prefers_onednn(x.to(at::kBFloat16), weight.to(at::kBFloat16)));
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const bool under_autocast = prefers_onednn(x, weight);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  CHECK_FALSE(under_autocast);
  // Whichever way this machine takes.
  CHECK(apart(sslmed::nn::linear(x, weight, at::Tensor(), Rows({2048})), at::linear(x.to(at::kDouble), weight.to(at::kDouble))) < 1e-6);
}
