#include <ATen/Functions.h>

#include "catch.h"
#include "ops/soft_cross_entropy.h"

using namespace sslmed;
using namespace sslmed::ops;

TEST_CASE("soft cross-entropy is that of log-softmax, of any weights") {
  at::manual_seed(2);
  const auto k = GENERATE(1, 7, 2048, 4100);
  auto x = at::randn({3, 2, k}, at::kDouble).requires_grad_();
  const auto targets = at::rand({2, 2, k}, at::kDouble), grads = at::rand({3, 2}, at::kDouble);
  const auto pairs = at::tensor({0.0, 1.0, 0.5, 0.0, 1.0, 2.0}, at::kDouble).view({3, 2});
  const auto loss = std::get<0>(soft_cross_entropy(x, targets, pairs, 0.2));
  (loss * grads).sum().backward();
  auto plain_x = x.detach().clone().requires_grad_();
  const auto log_p = at::log_softmax(plain_x / 0.2, -1);
  const auto plain = -at::einsum("vg,grk,vrk->vr", {pairs, targets, log_p});
  (plain * grads).sum().backward();
  CHECK(at::allclose(loss, plain, 1e-11, 1e-11));
  CHECK(at::allclose(x.grad(), plain_x.grad(), 1e-10, 1e-11));
}

TEST_CASE("soft cross-entropy of half precision accumulates in float") {
  at::manual_seed(2);
  for (const auto type : {at::kHalf, at::kBFloat16}) {
    const auto x = at::randn({2, 3, 3000}).to(type), targets = at::rand({1, 3, 3000}), pairs = at::ones({2, 1});
    const auto [loss, lse, mass] = soft_cross_entropy(x, targets, pairs, 0.5);
    const auto [exact, exact_lse, exact_mass] = soft_cross_entropy(x.to(at::kFloat), targets, pairs, 0.5);
    CHECK(loss.scalar_type() == at::kFloat);
    CHECK(at::equal(loss, exact));
    const auto grad = soft_cross_entropy_backward(at::ones({2, 3}), x, targets, pairs, lse, mass, 0.5);
    CHECK(grad.scalar_type() == type);
    CHECK(at::equal(grad, soft_cross_entropy_backward(at::ones({2, 3}), x.to(at::kFloat), targets, pairs, lse, mass, 0.5).to(type)));
  }
}

TEST_CASE("soft cross-entropy refuses what does not fit") {
  const auto x = at::randn({2, 3, 4}), targets = at::rand({1, 3, 4}), pairs = at::ones({2, 1});
  CHECK_THROWS_AS(soft_cross_entropy(x, at::rand({1, 2, 4}), pairs, 1), c10::ValueError);
  CHECK_THROWS_AS(soft_cross_entropy(x, targets, at::ones({1, 2}), 1), c10::ValueError);
  CHECK_THROWS_AS(soft_cross_entropy(x, targets, pairs, 0), c10::ValueError);
  CHECK_THROWS_AS(soft_cross_entropy(x, targets.to(at::kDouble), pairs, 1), c10::TypeError);
  CHECK_THROWS_AS(soft_cross_entropy(x.narrow(1, 0, 0), targets.narrow(1, 0, 0), pairs, 1), c10::ValueError);
}
