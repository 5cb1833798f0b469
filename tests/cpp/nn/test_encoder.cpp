#include "catch.h"
#include "nn/encoder.h"

using namespace sslmed::nn;

TEST_CASE("chosen tokens keep what they had, and their sequences' extents") {
  PatchTokens tokens;
  tokens.key = {"ramps", {2, 2}, 1};
  tokens.values = at::arange(10).view({10, 1}).to(at::kFloat);
  tokens.coords = at::arange(40).view({10, 4}).to(at::kFloat);
  tokens.grid = at::arange(20).view({10, 2}).to(at::kInt);
  tokens.extents = at::tensor({2, 2, 2, 3}, at::kInt).view({2, 2});
  tokens.channel = at::arange(10);
  tokens.lengths = {4, 6};
  // Two blocks of each sequence, as targets are predicted.
  const auto rows = at::tensor({0, 1, 2, 1, 4, 9, 8, 5}, at::kLong);
  const auto blocks = tokens.select(rows, {2, 2, 2, 2});
  CHECK(blocks.key == tokens.key);
  CHECK(blocks.lengths == Lengths{2, 2, 2, 2});
  CHECK(at::equal(blocks.values.squeeze(1), rows.to(at::kFloat)));
  CHECK(at::equal(blocks.coords, tokens.coords.index_select(0, rows)));
  CHECK(at::equal(blocks.grid, tokens.grid.index_select(0, rows)));
  CHECK(at::equal(blocks.channel, rows));
  CHECK(at::equal(blocks.extents, at::tensor({2, 2, 2, 2, 2, 3, 2, 3}, at::kInt).view({4, 2})));
  CHECK_FALSE(blocks.position.defined());
  CHECK(at::equal(tokens.select(rows, {4, 4}).extents, tokens.extents));
  CHECK_THROWS_AS(tokens.select(rows, {2, 3, 3}), c10::ValueError);
  CHECK_FALSE(blocks.hidden.defined());
  tokens.hidden = at::tensor({1, 8}, at::kLong);
  tokens.mask_token = at::ones({1, 3});
  const auto masked = tokens.select(rows, {2, 2, 2, 2});
  CHECK(at::equal(masked.hidden, at::tensor({1, 3, 6}, at::kLong)));
  CHECK(at::equal(masked.mask_token, tokens.mask_token));
}

TEST_CASE("features without a class token are those of patches") {
  Features features;
  features.tokens = at::arange(14).view({7, 2});
  features.lengths = {3, 4};
  CHECK(features.patches().is_same(features.tokens));
  CHECK(features.patch_lengths() == Lengths{3, 4});
  features.class_token = true;
  CHECK(features.patch_lengths() == Lengths{2, 3});
  CHECK(at::equal(features.patches(), features.tokens.index_select(0, at::tensor({1, 2, 4, 5, 6}))));
}
