#include "catch.h"
#include "nn/layers.h"

using namespace sslmed::nn;

TEST_CASE("initial weights are Xavier-uniform and a function of the seed") {
  Block a(32, 4, 4), b(32, 4, 4), c(32, 4, 4);
  initialise(a, 1);
  initialise(b, 1);
  initialise(c, 2);
  const auto name = std::string("mlp.fc1.weight");
  const auto wa = a.named_parameters()[name], wb = b.named_parameters()[name], wc = c.named_parameters()[name];
  CHECK(at::equal(wa, wb));
  CHECK_FALSE(at::equal(wa, wc));
  const double bound = std::sqrt(6.0 / (32 + 128));
  CHECK(wa.abs().max().item<double>() <= bound);
  CHECK(wa.std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.05));
  CHECK(a.named_parameters()["mlp.fc1.bias"].abs().max().item<double>() == 0);
}

TEST_CASE("sine-cosine rows differ, and the first is zero with a class token") {
  const auto table = sincos_table({3, 4, 5}, 36, true);
  CHECK(table.size(0) == 61);
  CHECK(table[0].abs().max().item<double>() == 0);
  const auto distance = at::cdist(table.narrow(0, 1, 60), table.narrow(0, 1, 60)) + at::eye(60) * 10;
  CHECK(distance.min().item<double>() > 0.1);
}
