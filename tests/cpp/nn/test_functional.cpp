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
  const auto whole = attention(qkv, Rows({4, 5}), 2);
  CHECK(at::allclose(whole.narrow(0, 0, 4), attention(qkv.narrow(0, 0, 4), Rows({4}), 2)));
  CHECK(at::allclose(whole.narrow(0, 4, 5), attention(qkv.narrow(0, 4, 5), Rows({5}), 2)));
  const auto q = qkv.narrow(1, 0, 4).narrow(0, 0, 4), k = qkv.narrow(1, 8, 4).narrow(0, 0, 4), v = qkv.narrow(1, 16, 4).narrow(0, 0, 4);
  const auto head = at::softmax(q.matmul(k.t()) / 2.0, -1).matmul(v);
  CHECK(at::allclose(whole.narrow(0, 0, 4).narrow(1, 0, 4), head));
}

TEST_CASE("attention of bfloat16, of any length and under autocast, is that of float32 rounded") {
  at::manual_seed(0);
  for (const std::int64_t length : {20, 300}) {
    const auto exact = at::randn({2 * length, 96}), qkv = exact.to(at::kBFloat16);
    const Rows rows({length, length});
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const auto out = attention(qkv, rows, 4);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    CHECK(out.scalar_type() == at::kBFloat16);
    CHECK(at::allclose(out.to(at::kFloat), attention(qkv.to(at::kFloat), rows, 4), 1e-2, 1e-2));
    CHECK(at::equal(out, attention(qkv, rows, 4)));
  }
}

TEST_CASE("convolutions have any rank, and tokens and tables are whose rows they are") {
  const auto x = at::randn({2, 3, 7, 8}, at::kDouble), weight = at::randn({4, 3, 3, 3}, at::kDouble), bias = at::randn({4}, at::kDouble);
  CHECK(at::allclose(conv(x, weight, bias, 2, 1, Rows::single(2)), at::conv2d(x, weight, bias, 2, 1)));
  const auto signal = at::randn({2, 3, 9}, at::kDouble), line = at::randn({4, 3, 3}, at::kDouble);
  CHECK(at::allclose(conv(signal, line, {}, 1, 0, Rows::single(2)), at::conv1d(signal, line)));
  const auto volume = at::randn({2, 3, 5, 6, 7}, at::kDouble), cube = at::randn({4, 3, 3, 3, 3}, at::kDouble);
  CHECK(at::allclose(conv(volume, cube, bias, 2, 1, Rows::single(2)), at::conv3d(volume, cube, bias, 2, 1)));
  const Rows rows({2, 3});
  const auto token = at::randn({1, 6}, at::kDouble), own = at::randn({5, 6}, at::kDouble);
  CHECK(at::equal(prepend_token(own, token, rows), at::cat({token, own.narrow(0, 0, 2), token, own.narrow(0, 2, 3)})));
  CHECK(at::equal(repeat_token(token, rows), token.repeat({5, 1})));
  CHECK(at::equal(embedding(own, at::tensor({4, 0, 0, 1, 2}, at::kLong), rows)[0], own[4]));
}

TEST_CASE("a query sees each sequence's keys and values") {
  const auto kv = at::randn({9, 16}, at::kDouble), query = at::randn({1, 8}, at::kDouble);
  const auto out = query_attention(query, kv, Rows({4, 5}), 2);
  REQUIRE(out.sizes() == at::IntArrayRef({2, 8}));
  const auto own = kv.narrow(0, 4, 5);
  const auto head = at::softmax(query.narrow(1, 4, 4).matmul(own.narrow(1, 4, 4).t()) / 2.0, -1).matmul(own.narrow(1, 12, 4));
  CHECK(at::allclose(out[1].narrow(0, 4, 4), head[0]));
}
