#include "catch.h"
#include "methods/teacher.h"
#include "nn/batch_norm.h"
#include "nn/layers.h"

using namespace sslmed;
using methods::rising_momentum;
using methods::Teacher;

namespace {

struct Net : torch::nn::Module {
  explicit Net(std::uint64_t seed) {
    linear = register_module("linear", std::make_shared<nn::Linear>(3, 2));
    norm = register_module("norm", std::make_shared<nn::BatchNorm>(2));
    nn::initialise(*this, seed);
    at::NoGradGuard guard;
    norm->running_mean.fill_(static_cast<double>(seed));
  }
  std::shared_ptr<nn::Linear> linear;
  std::shared_ptr<nn::BatchNorm> norm;
};

}  // namespace

TEST_CASE("a twin starts as the student, with its buffers, and takes no gradient") {
  Net student(1), twin(2);
  REQUIRE_FALSE(at::equal(student.linear->weight, twin.linear->weight));
  const Teacher teacher(student, twin);
  for (const auto& item : twin.named_parameters()) {
    CHECK(at::equal(item.value(), student.named_parameters()[item.key()]));
    CHECK_FALSE(item.value().requires_grad());
    CHECK_FALSE(item.value().is_same(student.named_parameters()[item.key()]));
  }
  for (const auto& item : student.named_parameters()) CHECK(item.value().requires_grad());
  CHECK(at::equal(twin.norm->running_mean, at::ones({2})));
}

TEST_CASE("an update moves each parameter by its part of the way, and no buffer") {
  Net student(1), twin(2);
  Teacher teacher(student, twin);
  std::vector<at::Tensor> expected;
  for (const auto& parameter : twin.parameters()) expected.push_back(parameter.clone());
  for (int step = 1; step <= 3; ++step) {
    const double momentum = 1 - 0.25 * step;
    {
      const at::NoGradGuard guard;
      for (auto& parameter : student.parameters()) parameter.add_(step);
      student.norm->running_mean.add_(1);
    }
    teacher.update(momentum);
    const auto parameters = twin.parameters(), students = student.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      expected[i] = momentum * expected[i] + (1 - momentum) * students[i].detach();
      CHECK(at::allclose(parameters[i], expected[i], 1e-6, 1e-6));
    }
  }
  CHECK(at::equal(twin.norm->running_mean, at::ones({2})));
  const auto before = twin.linear->weight.clone();
  teacher.update(1);
  CHECK(at::equal(twin.linear->weight, before));
  teacher.update(0);
  CHECK(at::allclose(twin.linear->weight, student.linear->weight));
}

TEST_CASE("momentum rises in a line") {
  CHECK(rising_momentum(0.9, 1, 0, 10) == 0.9);
  CHECK(rising_momentum(0.9, 1, 5, 10) == Approx(0.95));
  CHECK(rising_momentum(0.9, 1, 10, 10) == Approx(1));
  CHECK(rising_momentum(0.9, 1, 3, 0) == 0.9);  // outside of a run
}
