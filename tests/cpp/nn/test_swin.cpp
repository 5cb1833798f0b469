#include <ATen/Parallel.h>

#include "catch.h"
#include "nn/functional.h"
#include "nn/swin.h"
#include "nn/window_attention.h"

using namespace sslmed::nn;

TEST_CASE("rows move into windows and back, whatever is rolled and padded") {
  for (const auto padding : {WindowPadding::kRollFirst, WindowPadding::kPadFirst}) {
    for (const auto& [grid, window, shift] : {std::tuple<Grid, Grid, Grid>{{7}, {3}, {1}}, {{6, 5}, {3, 2}, {1, 1}}, {{4, 5, 3}, {2, 3, 3}, {1, 1, 0}}}) {
      const Windows windows(grid, window, shift, padding);
      auto x = at::randn({2, cells_of(grid), 4}).set_requires_grad(true);
      const auto inside = gather_rows(x, windows.slots, windows.cells);
      CHECK(inside.size(1) == windows.count * cells_of(window));
      CHECK(at::equal(gather_rows(inside, windows.cells, windows.slots), x));
      CHECK(at::allclose(inside.sum(), x.sum(), 1e-4, 1e-4));  // padding is zero
      const auto weights = at::randn_like(inside);
      (inside * weights).sum().backward();
      CHECK(at::equal(x.grad(), gather_rows(weights, windows.cells, windows.slots)));
    }
  }
}

TEST_CASE("a shifted window has the regions that the roll has brought together") {
  const Windows windows({6}, {3}, {1}, WindowPadding::kPadFirst);
  // Rolled by one: 1 2 3 | 4 5 0, and 0 lies apart from 4 and 5.
  CHECK(at::equal(windows.slots, at::tensor({1, 2, 3, 4, 5, 0}, at::kLong)));
  CHECK(at::equal(windows.regions[0].eq(windows.regions[0][0]), at::ones({3}, at::kBool)));
  CHECK(windows.regions[1][0].item<std::int64_t>() == windows.regions[1][1].item<std::int64_t>());
  CHECK(windows.regions[1][0].item<std::int64_t>() != windows.regions[1][2].item<std::int64_t>());
  CHECK_FALSE(Windows({6}, {3}, {0}, WindowPadding::kPadFirst).regions.defined());
}

TEST_CASE("relative positions are rows of the table by the difference of places") {
  const auto index = relative_index({2, 2}, {2, 2}, false);
  const auto expected = at::tensor({4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4}, at::kLong).view({4, 4});
  CHECK(at::equal(index, expected));
  // A window that is smaller along its second axis: its own differences, or the first rows of the full window's.
  CHECK(at::equal(relative_index({2, 1}, {2, 2}, false), at::tensor({4, 1, 7, 4}, at::kLong).view({2, 2})));
  CHECK(at::equal(relative_index({2, 1}, {2, 2}, true), expected.narrow(0, 0, 2).narrow(1, 0, 2)));
}

TEST_CASE("neighbours are joined in the named orders") {
  const auto joined = [](Grid grid, Merging order) {
    const auto cells = cells_of(grid);
    return merge_neighbors(at::arange(cells, at::kFloat).view({1, cells, 1}), grid, order)[0];
  };
  const auto of = [](const std::vector<float>& values) { return at::tensor(values).view({1, -1}); };
  CHECK(at::equal(joined({2, 2}, Merging::kTimm), of({0, 2, 1, 3})));
  CHECK(at::equal(joined({2, 2}, Merging::kMergingV2), of({0, 2, 1, 3})));
  CHECK(at::equal(joined({2, 2, 2}, Merging::kTimm), of({0, 4, 2, 6, 1, 5, 3, 7})));
  CHECK(at::equal(joined({2, 2, 2}, Merging::kMonai), of({0, 4, 2, 1, 6, 5, 3, 7})));
  CHECK(at::equal(joined({2, 2, 2}, Merging::kMonaiLegacy), of({0, 4, 2, 1, 5, 2, 1, 7})));
  CHECK(at::equal(joined({2, 2, 2}, Merging::kMergingV2), of({0, 1, 2, 3, 4, 5, 6, 7})));
  CHECK(at::equal(joined({3}, Merging::kTimm), at::tensor({0.f, 1.f, 2.f, 0.f}).view({2, 2})));  // an odd extent is padded
}

TEST_CASE("attention with a bias is its definition, values and gradients") {
  const std::int64_t windows = 4, cells = 6, heads = 2, dim = 8;
  const auto regions = at::randint(0, 2, {2, cells}, at::kLong);
  for (const bool shifted : {false, true}) {
    auto qkv = at::randn({windows, cells, 3 * dim}, at::kDouble).set_requires_grad(true),
         bias = at::randn({heads, cells, cells}, at::kDouble).set_requires_grad(true);
    const auto found = biased_attention(qkv, heads, bias, shifted ? regions : at::Tensor(), Rows(Lengths(2, 2 * cells)));
    const auto weights = at::randn_like(found);
    (found * weights).sum().backward();
    auto qkv2 = qkv.detach().clone().set_requires_grad(true), bias2 = bias.detach().clone().set_requires_grad(true);
    const auto split = qkv2.view({windows, cells, 3, heads, dim / heads}).permute({2, 0, 3, 1, 4});
    auto scores = at::matmul(split[0], split[1].transpose(-2, -1)) / std::sqrt(4.0) + bias2;
    if (shifted) {
      const auto apart = regions.unsqueeze(2).ne(regions.unsqueeze(1)).to(at::kDouble) * -100;
      scores = scores + apart.repeat({2, 1, 1}).unsqueeze(1);
    }
    const auto expected = at::matmul(scores.softmax(-1), split[2]).transpose(1, 2).reshape({windows, cells, dim});
    (expected * weights).sum().backward();
    CHECK(at::allclose(found, expected, 1e-10, 1e-12));
    CHECK(at::allclose(qkv.grad(), qkv2.grad(), 1e-9, 1e-11));
    CHECK(at::allclose(bias.grad(), bias2.grad(), 1e-9, 1e-11));
  }
}

TEST_CASE("attention with a bias does not depend on the number of threads") {
  const auto before = at::get_num_threads();
  for (const auto type : {at::kFloat, at::kDouble}) {
    // Many chunks of windows, a few, and a single one.
    for (const auto& [windows, cells, heads] : {std::tuple<int, int, int>{64, 49, 3}, {6, 216, 2}, {2, 27, 4}, {1, 7, 1}}) {
      const std::int64_t dim = 8 * heads;
      const auto regions = at::randint(0, 2, {windows, cells}, at::kLong);
      const auto qkv = at::randn({windows, cells, 3 * dim}, type), bias = at::randn({heads, cells, cells}, type);
      const auto weights = at::randn({windows, cells, dim}, type);
      std::vector<at::Tensor> first;
      for (const int threads : {1, 2, 3}) {
        at::set_num_threads(threads);
        auto x = qkv.clone().set_requires_grad(true), table = bias.clone().set_requires_grad(true);
        const auto out = window_attention(x, heads, table, regions);
        (out * weights).sum().backward();
        const std::vector<at::Tensor> found{out, x.grad(), table.grad()};
        if (first.empty()) first = found;
        for (std::size_t i = 0; i < found.size(); ++i) CHECK(at::equal(found[i], first[i]));
      }
    }
  }
  at::set_num_threads(before);
}

TEST_CASE("layer decay counts the blocks of all stages") {
  for (const auto* style : {"timm", "monai"}) {
    ModelConfig config;
    config.name = "swin_tiny";
    config.options = {{"style", std::string(style)}, {"embed_dim", std::int64_t{12}}, {"depths", std::vector<std::int64_t>{2, 1, 3, 1}}};
    const auto encoder = create_dense(config);
    const bool monai = style == std::string("monai");
    CHECK(encoder->shape().depth == 7);
    CHECK(encoder->layer_of("patch_embed.proj.weight") == 0);
    CHECK(encoder->layer_of("layers.0.blocks.1.norm1.bias") == 2);
    CHECK(encoder->layer_of("layers.2.blocks.0.attn.qkv.weight") == 4);
    CHECK(encoder->layer_of("layers.2.downsample.reduction.weight") == (monai ? 6 : 3));
    CHECK(encoder->layer_of("layers.3.blocks.0.mlp.fc1.weight") == 7);
    CHECK(encoder->layer_of("norm.weight") == 7);
  }
}
