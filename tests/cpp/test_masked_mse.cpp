#include "catch.h"
#include "ops/masked_mse.h"

using namespace sslmed::ops;

TEST_CASE("masked_mse equals its definition, in value and gradient") {
  auto pred = at::randn({2, 5, 8}, at::kDouble).requires_grad_(), target = at::randn({2, 5, 8}, at::kDouble).requires_grad_();
  const auto mask = at::tensor({1, 0, 1, 1, 0, 0, 1, 0, 0, 1}).view({2, 5});
  for (const bool norm : {true, false}) {
    auto y = target;
    if (norm) y = (target - target.mean(-1, true)) / (target.var(at::IntArrayRef{-1}, 1, true) + kMaskedMseEps).sqrt();
    const auto expected = ((pred - y).square().mean(-1) * mask).sum() / mask.sum();
    const auto loss = masked_mse(pred, target, mask, norm);
    CHECK(at::allclose(loss, expected, 1e-12, 1e-12));
    loss.backward();
    const auto p = pred.grad().clone(), t = target.grad().clone();
    pred.mutable_grad().reset();
    target.mutable_grad().reset();
    expected.backward();
    CHECK(at::allclose(p, pred.grad(), 1e-10, 1e-12));
    CHECK(at::allclose(t, target.grad(), 1e-10, 1e-12));
    pred.mutable_grad().reset();
    target.mutable_grad().reset();
  }
  CHECK_THROWS_AS(masked_mse(pred, target, at::zeros({2, 5}), true), c10::ValueError);
  CHECK_THROWS_AS(masked_mse(pred, target, at::ones({2, 4}), true), c10::ValueError);
}
