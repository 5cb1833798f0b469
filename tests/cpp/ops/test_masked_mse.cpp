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

TEST_CASE("masked_mse without a mask is that of a mask of ones, bit for bit") {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const auto values = at::randn({2, 5, 8}).to(type), truth = at::randn({2, 5, 8}).to(type);
    for (const bool norm : {true, false}) {
      std::vector<at::Tensor> losses, preds, targets;
      for (const bool masked : {true, false}) {
        preds.push_back(values.clone().requires_grad_());
        targets.push_back(truth.clone().requires_grad_());
        losses.push_back(masked ? masked_mse(preds.back(), targets.back(), at::ones({2, 5}), norm)
                                : masked_mse(preds.back(), targets.back(), std::nullopt, norm));
        losses.back().backward();
      }
      CHECK(at::equal(losses[0], losses[1]));
      CHECK(at::equal(preds[0].grad(), preds[1].grad()));
      CHECK(at::equal(targets[0].grad(), targets[1].grad()));
    }
  }
  CHECK_THROWS_AS(masked_mse(at::zeros({0, 5, 8}), at::zeros({0, 5, 8}), std::nullopt, true), c10::ValueError);
}
