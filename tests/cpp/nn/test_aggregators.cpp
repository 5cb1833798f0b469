#include <functional>
#include <vector>

#include "catch.h"
#include "nn/aggregators.h"
#include "nn/functional.h"

using namespace sslmed;
using nn::Aggregation;
using nn::AggregatorConfig;

namespace {

AggregatorConfig small_aggregator(Aggregation kind, std::int64_t branches = 1) {
  AggregatorConfig config;
  config.kind = kind;
  config.in = 6;
  config.hidden = 8;
  config.attention = 4;
  config.branches = branches;
  config.heads = 2;
  config.landmarks = 3;
  config.seed = 5;
  return config;
}

// Bags of 4 and 7 rows, each row in a cell of its own.
nn::PatchTokens two_bags() {
  nn::PatchTokens bags;
  const auto column = at::arange(11, at::kLong).remainder(3), row = at::arange(11, at::kLong).floor_divide(3);
  bags.values = at::arange(66, at::kFloat).view({11, 6}).sin();
  bags.grid = at::stack({row, column}, 1).to(at::kInt);
  bags.extents = at::tensor({4, 3, 4, 3}, at::kInt).view({2, 2});
  bags.lengths = {4, 7};
  return bags;
}

nn::PatchTokens second_of(const nn::PatchTokens& bags) {
  auto one = bags;
  one.values = bags.values.narrow(0, 4, 7);
  one.grid = bags.grid.narrow(0, 4, 7);
  one.extents = bags.extents.narrow(0, 1, 1);
  one.lengths = {7};
  return one;
}

}  // namespace

TEST_CASE("a bag is pooled as if it were alone") {
  for (const auto kind : {Aggregation::kMean, Aggregation::kAttention, Aggregation::kTransformer}) {
    const auto net = nn::create_aggregator(small_aggregator(kind));
    const auto both = net->aggregate(two_bags()), alone = net->aggregate(second_of(two_bags()));
    CHECK(both.pooled.sizes() == at::IntArrayRef({2, 1, 8}));
    CHECK(at::allclose(both.pooled[1], alone.pooled[0], 1e-5, 1e-6));
    CHECK(at::allclose(both.attention.narrow(0, 4, 7), alone.attention, 1e-5, 1e-6));
    CHECK(both.attention.narrow(0, 0, 4).sum().item<double>() == Approx(1).epsilon(1e-5));
  }
}

TEST_CASE("an aggregator is an encoder") {
  const auto net = nn::create_aggregator(small_aggregator(Aggregation::kAttention, 3));
  const auto found = net->forward_view(two_bags());
  CHECK(found.tokens.sizes() == at::IntArrayRef({11, 8}));
  CHECK(found.lengths == nn::Lengths{4, 7});
  CHECK(at::allclose(found.pooled, net->aggregate(two_bags()).pooled.mean(1)));
  CHECK_THROWS_AS(net->forward_view(nn::DenseInput{at::zeros({1, 1, 2, 2}), {}}), c10::ValueError);
}

TEST_CASE("rows in half precision come as bytes") {
  const auto rows = at::randn({3, 6}).to(at::kHalf);
  CHECK(at::equal(nn::bag_rows(rows.view(at::kByte), at::kFloat), rows.to(at::kFloat)));
  CHECK_THROWS_AS(nn::bag_rows(at::zeros({3, 5}, at::kByte), at::kFloat), c10::ValueError);
}

TEST_CASE("units are dropped by the seed of their bag") {
  const auto x = at::ones({11, 200});
  const nn::Rows rows(nn::Lengths{4, 7});
  const auto a = nn::dropout(x, {0.25, {1, 2}}, 0, rows), b = nn::dropout(x, {0.25, {9, 2}}, 0, rows);
  CHECK(at::equal(a, nn::dropout(x, {0.25, {1, 2}}, 0, rows)));
  CHECK(at::equal(a.narrow(0, 4, 7), b.narrow(0, 4, 7)));
  CHECK_FALSE(at::equal(a.narrow(0, 0, 4), b.narrow(0, 0, 4)));
  CHECK_FALSE(at::equal(a, nn::dropout(x, {0.25, {1, 2}}, 1, rows)));
  CHECK(a.eq(0).to(at::kFloat).mean().item<double>() == Approx(0.25).margin(0.04));
  CHECK(at::equal(nn::dropout(x, {}, 0, rows), x));
  CHECK_THROWS_AS(nn::dropout(x, {0.25, {1}}, 0, rows), c10::ValueError);
}

TEST_CASE("landmarks are exact attention where there are as many as rows") {
  const auto qkv = at::randn({11, 24});
  const nn::Rows rows(nn::Lengths{4, 7});
  CHECK(at::allclose(nn::nystrom_attention(qkv, 2, 7, 6, rows), nn::attention(qkv, rows, 2), 1e-5, 1e-6));
}

TEST_CASE("configurations that make no network are refused") {
  for (const auto& change : std::vector<std::function<void(AggregatorConfig&)>>{[](auto& c) { c.in = 0; }, [](auto& c) { c.hidden = 0; },
                                                                                [](auto& c) { c.branches = 0; }, [](auto& c) { c.attention = 0; },
                                                                                [](auto& c) {
                                                                                  c.kind = Aggregation::kMean;
                                                                                  c.branches = 2;
                                                                                },
                                                                                [](auto& c) {
                                                                                  c.kind = Aggregation::kTransformer;
                                                                                  c.heads = 3;
                                                                                },
                                                                                [](auto& c) {
                                                                                  c.kind = Aggregation::kTransformer;
                                                                                  c.residual = 4;
                                                                                }}) {
    auto config = small_aggregator(Aggregation::kAttention);
    change(config);
    CHECK_THROWS_AS(nn::create_aggregator(config), c10::ValueError);
  }
}
