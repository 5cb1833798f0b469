#include "catch.h"
#include "train/optimizer.h"
#include "train/schedule.h"

using namespace sslmed;
using namespace sslmed::train;

TEST_CASE("AdamW equals its definition, decay only where asked") {
  auto w = at::randn({3, 3}, at::kDouble).requires_grad_(), b = at::randn({3}, at::kDouble).requires_grad_();
  methods::ParameterGroup decayed{{"w"}, {w}, 1, true}, plain{{"b"}, {b}, 0.5, false};
  AdamW optimizer({decayed, plain}, {0.9, 0.95, 1e-8, 0.1});
  auto expected = w.detach().clone(), m = at::zeros_like(expected), v = at::zeros_like(expected);
  for (int t = 1; t <= 3; ++t) {
    optimizer.zero_grad();
    (w.square().sum() + b.square().sum()).backward();
    const auto g = w.grad().clone();
    optimizer.step(0.01);
    expected = expected * (1 - 0.01 * 0.1);
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    expected = expected - 0.01 * (m / (1 - std::pow(0.9, t))) / ((v / (1 - std::pow(0.95, t))).sqrt() + 1e-8);
    CHECK(at::allclose(w.detach(), expected, 1e-10, 1e-12));
  }
  AdamW other({decayed, plain}, {});
  other.load(optimizer.state());
  for (const auto& [name, tensor] : optimizer.state()) CHECK(at::equal(tensor, other.state().at(name)));
  CHECK_THROWS_AS(other.load({}), c10::ValueError);
}

TEST_CASE("clipping scales to the norm and reports the one before") {
  auto a = at::ones({4}).requires_grad_();
  AdamW optimizer({{{"a"}, {a}, 1, true}}, {});
  CHECK(optimizer.clip(1) == 0);
  (a * 3).sum().backward();
  CHECK(optimizer.clip(1) == Approx(6));
  CHECK(a.grad().norm().item<double>() == Approx(1).epsilon(1e-5));
}

TEST_CASE("the schedule rises, peaks and falls") {
  CHECK(warmup_cosine(0, 100, 10, 1, 0) == Approx(0.1));
  CHECK(warmup_cosine(9, 100, 10, 1, 0) == Approx(1));
  CHECK(warmup_cosine(10, 100, 10, 1, 0) == Approx(1));
  CHECK(warmup_cosine(55, 100, 10, 1, 0.2) == Approx(0.6));
  CHECK(warmup_cosine(100, 100, 10, 1, 0.2) == Approx(0.2));
  CHECK(warmup_cosine(3, 4, 4, 1, 0) == Approx(1));
}
