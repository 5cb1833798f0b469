#include <ATen/Functions.h>

#include <limits>

#include "catch.h"
#include "ops/info_nce.h"

using namespace sslmed;
using namespace sslmed::ops;

TEST_CASE("InfoNCE by tiles is the cross-entropy of the whole matrix") {
  at::manual_seed(1);
  const auto rows = GENERATE(1, 5, 130, 1100);
  const auto keys_too = GENERATE(true, false);
  const auto n = static_cast<std::int64_t>(rows), m = keys_too ? n + 7 : n;
  if (!keys_too && n < 2) return;
  auto q = at::randn({n, 6}, at::kDouble).requires_grad_(), k = at::randn({m, 6}, at::kDouble).requires_grad_();
  const auto self = at::arange(n, at::kLong), positive = (self + 1).remainder(m);
  const auto keys = keys_too ? std::optional(k) : std::nullopt, own = keys_too ? std::optional(self) : std::nullopt;
  const auto loss = std::get<0>(info_nce(q, keys, positive, own, 0.3));
  const auto weights = at::rand({n}, at::kDouble);
  (loss * weights).sum().backward();
  auto plain_q = q.detach().clone().requires_grad_(), plain_k = k.detach().clone().requires_grad_();
  const auto logits = (at::mm(plain_q, (keys_too ? plain_k : plain_q).t()) / 0.3).scatter(1, self.unsqueeze(1), -std::numeric_limits<double>::infinity());
  const auto plain = at::logsumexp(logits, {1}) - logits.gather(1, positive.unsqueeze(1)).squeeze(1);
  (plain * weights).sum().backward();
  CHECK(at::allclose(loss, plain, 1e-12, 1e-12));
  CHECK(at::allclose(q.grad(), plain_q.grad(), 1e-10, 1e-12));
  if (keys_too) CHECK(at::allclose(k.grad(), plain_k.grad(), 1e-10, 1e-12));
}

TEST_CASE("InfoNCE refuses what does not fit") {
  const auto q = at::randn({3, 4}), positive = at::zeros({3}, at::kLong);
  CHECK_THROWS_AS(info_nce(q, at::randn({3, 5}), positive, std::nullopt, 1), c10::ValueError);
  CHECK_THROWS_AS(info_nce(q, q, at::full({3}, 3, at::kLong), std::nullopt, 1), c10::ValueError);
  CHECK_THROWS_AS(info_nce(q, std::nullopt, positive, positive, 1), c10::ValueError);
  CHECK_THROWS_AS(info_nce(q, q, positive, std::nullopt, 0), c10::ValueError);
  CHECK_THROWS_AS(info_nce(q.to(at::kHalf), std::nullopt, positive, std::nullopt, 1), c10::TypeError);
}
