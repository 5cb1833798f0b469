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

namespace {

// Three steps of w = 2 * sum of squares with each algorithm, as double; `expected` takes a step of its definition.
template <class Expected>
void check_steps(Algorithm algorithm, bool decays, Expected&& expected) {
  auto w = at::randn({3, 4}, at::kDouble).requires_grad_();
  OptimizerOptions options;
  options.algorithm = algorithm;
  options.weight_decay = 0.1;
  const auto optimizer = make_optimizer({{{"w"}, {w}, 1, decays}}, options);
  auto own = w.detach().clone();
  for (int t = 1; t <= 3; ++t) {
    optimizer->zero_grad();
    (2 * w.square().sum()).backward();
    const auto g = w.grad().clone();
    optimizer->step(0.01);
    own = expected(own, g, t);
    CHECK(at::allclose(w.detach(), own, 1e-12, 1e-14));
  }
  const auto other = make_optimizer({{{"w"}, {w}, 1, decays}}, options);
  other->load(optimizer->state());
  for (const auto& [name, tensor] : optimizer->state()) CHECK(at::equal(tensor, other->state().at(name)));
  CHECK_THROWS_AS(other->load({}), c10::ValueError);
}

}  // namespace

TEST_CASE("SGD and LARS equal their definitions, and LARS is SGD where nothing decays") {
  const auto decays = GENERATE(true, false);
  const double decay = decays ? 0.1 : 0;
  auto v = at::zeros({3, 4}, at::kDouble), scaled = v;
  check_steps(Algorithm::kSgd, decays, [&](const at::Tensor& w, const at::Tensor& g, int) {
    v = 0.9 * v + g + decay * w;
    return w - 0.01 * v;
  });
  check_steps(Algorithm::kLars, decays, [&](const at::Tensor& w, const at::Tensor& g, int) {
    const auto trust = decays ? 1e-3 * w.norm() / (g.norm() + decay * w.norm() + 1e-8) : at::ones({}, at::kDouble);
    scaled = 0.9 * scaled + trust * (g + decay * w);
    return w - 0.01 * scaled;
  });
}

TEST_CASE("LAMB equals its definition") {
  const auto decays = GENERATE(true, false);
  auto m = at::zeros({3, 4}, at::kDouble), v = m;
  check_steps(Algorithm::kLamb, decays, [&](const at::Tensor& w, const at::Tensor& g, int t) {
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    auto step = (m / (1 - std::pow(0.9, t))) / ((v / (1 - std::pow(0.95, t))).sqrt() + 1e-6);
    if (!decays) return w - 0.01 * step;
    step = step + 0.1 * w;
    return w - 0.01 * w.norm() / step.norm() * step;
  });
}

TEST_CASE("a layer of zeros, or without a gradient's norm, takes its step unscaled") {
  for (const auto algorithm : {Algorithm::kLars, Algorithm::kLamb}) {
    auto w = at::zeros({4}).requires_grad_();
    OptimizerOptions options;
    options.algorithm = algorithm;
    const auto optimizer = make_optimizer({{{"w"}, {w}, 1, true}}, options);
    (w * 0).sum().backward();
    optimizer->step(0.1);
    CHECK(at::equal(w.detach(), at::zeros({4})));
    optimizer->zero_grad();
    w.sum().backward();
    optimizer->step(0.1);
    CHECK((w.detach() < -0.05).all().item<bool>());
  }
}
