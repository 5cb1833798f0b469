#include "catch.h"
#include "nn/pool.h"

using namespace sslmed::nn;

TEST_CASE("a region is the mean of its tokens, and one without a token is the mean of all") {
  const auto tokens = at::arange(14).view({7, 2}).to(at::kDouble);
  const auto region = at::tensor({0, 2, 0, -1, 1, 1, -1}, at::kLong);
  const auto out = region_means(tokens, region, {4, 3}, 3);
  REQUIRE(out.sizes() == at::IntArrayRef({2, 6}));
  const auto cell = [&](std::int64_t b, std::int64_t r) { return out[b].narrow(0, 2 * r, 2); };
  CHECK(at::equal(cell(0, 0), (tokens[0] + tokens[2]) / 2));
  CHECK(at::equal(cell(0, 1), tokens.narrow(0, 0, 4).mean(0)));  // nothing there: all of the sequence, with what is in no region
  CHECK(at::equal(cell(0, 2), tokens[1]));
  CHECK(at::equal(cell(1, 0), tokens.narrow(0, 4, 3).mean(0)));
  CHECK(at::equal(cell(1, 1), (tokens[4] + tokens[5]) / 2));
  CHECK(at::equal(cell(1, 2), tokens.narrow(0, 4, 3).mean(0)));
}

TEST_CASE("one region of all tokens is their mean, and a gradient reaches each") {
  const auto tokens = at::randn({9, 4}, at::kDouble).requires_grad_();
  const auto out = region_means(tokens, at::zeros({9}, at::kLong), {4, 5}, 1);
  CHECK(at::allclose(out[0], tokens.narrow(0, 0, 4).mean(0)));
  CHECK(at::allclose(out[1], tokens.narrow(0, 4, 5).mean(0)));
  out.sum().backward();
  CHECK(at::allclose(tokens.grad().narrow(0, 0, 4), at::full({4, 4}, 0.25, at::kDouble)));
  CHECK(at::allclose(tokens.grad().narrow(0, 4, 5), at::full({5, 4}, 0.2, at::kDouble)));
}
