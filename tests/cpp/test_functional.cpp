#include <ATen/autocast_mode.h>

#include "catch.h"
#include "nn/functional.h"

using namespace sslmed::nn;

TEST_CASE("a layout joins equal neighbours") {
  const auto layout = layout_of({3, 3, 5, 3});
  REQUIRE(layout.size() == 3);
  CHECK(layout[0].count == 2);
  CHECK(layout[1].first_row == 6);
  CHECK(layout[2].first_row == 11);
}

TEST_CASE("attention stays inside a sequence") {
  const auto qkv = at::randn({9, 24}, at::kDouble);
  const auto whole = attention(qkv, layout_of({4, 5}), 2);
  CHECK(at::allclose(whole.narrow(0, 0, 4), attention(qkv.narrow(0, 0, 4), layout_of({4}), 2)));
  CHECK(at::allclose(whole.narrow(0, 4, 5), attention(qkv.narrow(0, 4, 5), layout_of({5}), 2)));
  const auto q = qkv.narrow(1, 0, 4).narrow(0, 0, 4), k = qkv.narrow(1, 8, 4).narrow(0, 0, 4), v = qkv.narrow(1, 16, 4).narrow(0, 0, 4);
  const auto head = at::softmax(q.matmul(k.t()) / 2.0, -1).matmul(v);
  CHECK(at::allclose(whole.narrow(0, 0, 4).narrow(1, 0, 4), head));
}

TEST_CASE("attention of bfloat16, of any length and under autocast, is that of float32 rounded") {
  at::manual_seed(0);
  for (const std::int64_t length : {20, 300}) {
    const auto exact = at::randn({2 * length, 96}), qkv = exact.to(at::kBFloat16);
    const auto layout = layout_of({length, length});
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const auto out = attention(qkv, layout, 4);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    CHECK(out.scalar_type() == at::kBFloat16);
    CHECK(at::allclose(out.to(at::kFloat), attention(qkv.to(at::kFloat), layout, 4), 1e-2, 1e-2));
    CHECK(at::equal(out, attention(qkv, layout, 4)));
  }
}
