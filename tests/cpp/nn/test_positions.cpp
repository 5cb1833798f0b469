#include <ATen/ops/_upsample_bicubic2d_aa.h>

#include "catch.h"
#include "nn/positions.h"
#include "small_vit.h"

using namespace sslmed::nn;
namespace testing = sslmed::testing;

namespace {

using Grid = std::vector<std::int64_t>;

std::int64_t product_of(const Grid& grid) {
  std::int64_t n = 1;
  for (const auto extent : grid) n *= extent;
  return n;
}

// All cells of a grid as tokens; `extent`: of the grid, once a sequence.
PatchTokens cells_of(const Grid& grid) {
  PatchTokens tokens;
  const auto n = product_of(grid);
  tokens.values = at::zeros({n, 1});
  tokens.grid = at::empty({n, static_cast<std::int64_t>(grid.size())}, at::kInt);
  for (std::int64_t cell = 0; cell < n; ++cell) {
    auto rest = cell;
    for (std::size_t a = grid.size(); a-- > 0; rest /= grid[a]) tokens.grid[cell][static_cast<std::int64_t>(a)] = rest % grid[a];
  }
  tokens.extents = at::tensor(grid, at::kInt).view({1, -1});
  tokens.lengths = {n};
  return tokens;
}

PatchTokens both(const PatchTokens& a, const PatchTokens& b) {
  PatchTokens out;
  out.grid = at::cat({a.grid, b.grid});
  out.extents = at::cat({a.extents, b.extents});
  out.lengths = {a.lengths[0], b.lengths[0]};
  return out;
}

// A learned table over `grid`, with a module to hold it.
struct Table {
  explicit Table(const Grid& grid, bool class_token = true) {
    EmbeddingConfig config;
    config.patch_size.assign(grid.size(), 1);
    config.img_size = grid;
    positions = PositionEmbedding::create(owner, config, 12, class_token, /*learned=*/true);
    sslmed::nn::initialise(owner, 4);
    weights = owner.named_parameters()["pos_embed"];
  }
  torch::nn::Module owner;
  std::shared_ptr<PositionEmbedding> positions;
  at::Tensor weights;
};

const std::vector<std::pair<Grid, Grid>> kGrids{{{6}, {9}}, {{8}, {3}}, {{4, 6}, {7, 3}}, {{5, 5}, {5, 8}}, {{2, 3, 4}, {4, 3, 2}}};

}  // namespace

TEST_CASE("a table for its own grid is the table itself") {
  for (const auto& [grid, to] : kGrids) {
    const auto table = at::randn({1, 1 + product_of(grid), 6});
    CHECK(resample_positions(table, grid, grid, 1).is_same(table));
    CHECK(resample_positions(table, grid, to, 1).sizes() == at::IntArrayRef({1, 1 + product_of(to), 6}));
  }
}

TEST_CASE("resampling keeps what is constant, and the first rows") {
  for (const auto& [grid, to] : kGrids) {
    for (const std::int64_t first : {0, 1, 2}) {
      auto table = at::full({1, first + product_of(grid), 3}, 0.75);
      const auto front = at::randn({1, first, 3});
      table.narrow(1, 0, first).copy_(front);
      const auto out = resample_positions(table, grid, to, first);
      CHECK(at::equal(out.narrow(1, 0, first), front));
      CHECK(at::allclose(out.narrow(1, first, product_of(to)), at::full({1, product_of(to), 3}, 0.75), 1e-6, 1e-6));
    }
  }
}

TEST_CASE("in the plane it is PyTorch's antialiased bicubic resampling, which timm calls") {
  for (const auto& [grid, to] : std::vector<std::pair<Grid, Grid>>{{{14, 14}, {6, 6}}, {{4, 6}, {7, 3}}, {{5, 5}, {16, 10}}, {{14, 14}, {1, 2}}}) {
    const auto table = at::randn({1, product_of(grid), 8});
    const auto image = table.view({1, grid[0], grid[1], 8}).permute({0, 3, 1, 2}).contiguous();
    const auto expected = at::_upsample_bicubic2d_aa(image, to, /*align_corners=*/false).permute({0, 2, 3, 1}).reshape({1, product_of(to), 8});
    CHECK((resample_positions(table, grid, to, 0) - expected).abs().max().item<double>() <= 1e-6);
  }
}

TEST_CASE("axes are resampled one by one, in any rank") {
  const auto table = at::randn({1, 24, 5}, at::kDouble);
  const auto once = resample_positions(table, {2, 3, 4}, {4, 3, 2}, 0);
  const auto twice = resample_positions(resample_positions(table, {2, 3, 4}, {4, 3, 4}, 0), {4, 3, 4}, {4, 3, 2}, 0);
  CHECK(at::allclose(once, twice, 1e-12, 1e-12));
  // A volume of one slice is a picture, and one of one row a signal.
  CHECK(at::allclose(resample_positions(table, {1, 4, 6}, {1, 3, 8}, 0), resample_positions(table, {4, 6}, {3, 8}, 0), 1e-12, 1e-12));
  CHECK(at::allclose(resample_positions(table, {1, 24, 1}, {1, 9, 1}, 0), resample_positions(table, {24}, {9}, 0), 1e-12, 1e-12));
}

TEST_CASE("a gradient flows through resampled positions") {
  for (const auto& [grid, to] : kGrids) {
    Table own(grid);
    const auto tokens = cells_of(to);
    own.positions->forward(tokens).square().sum().backward();
    const auto gradient = own.weights.grad();
    REQUIRE(gradient.defined());
    CHECK(gradient[0][0].eq(0).all().item<bool>());  // the class token's row is no patch's
    CHECK(gradient[0].narrow(0, 1, product_of(grid)).abs().sum(1).gt(0).all().item<bool>());
  }
}

TEST_CASE("each sequence sees the table of its own extent") {
  for (const auto& [grid, to] : kGrids) {
    const Table own(grid);
    const auto whole = cells_of(grid), other = cells_of(to);
    const auto first = own.positions->forward(whole), second = own.positions->forward(other);
    CHECK(at::equal(first, own.weights[0].narrow(0, 1, product_of(grid))));
    CHECK(at::equal(second, resample_positions(own.weights, grid, to, 1)[0].narrow(0, 1, product_of(to))));
    CHECK(at::equal(own.positions->forward(both(whole, other)), at::cat({first, second})));
    CHECK(at::equal(own.positions->forward(both(other, whole)), at::cat({second, first})));
    CHECK(at::equal(own.positions->forward(both(other, other)), at::cat({second, second})));
    // A part of a grid, as masks leave it, has the rows of its cells.
    const auto rows = at::tensor({0, 2}, at::kLong);
    CHECK(at::equal(own.positions->forward(other.select(rows, {2})), second.index_select(0, rows)));
    CHECK(at::equal(own.positions->class_row(), own.weights.select(1, 0)));
  }
}

TEST_CASE("tokens without a grid are those of whole sequences; fixed tables are resampled as well") {
  const Table own({4, 3});
  PatchTokens plain;
  plain.lengths = {12, 12};
  CHECK(at::equal(own.positions->forward(plain), own.weights[0].narrow(0, 1, 12).repeat({2, 1})));
  plain.lengths = {12, 6};
  CHECK_THROWS_WITH(own.positions->forward(plain), Catch::Contains("a sequence of 6 patches"));
  auto tokens = cells_of({4, 3});
  tokens.extents = at::Tensor();
  CHECK(at::equal(own.positions->forward(tokens), own.weights[0].narrow(0, 1, 12)));
  CHECK_THROWS_WITH(own.positions->forward(cells_of({12})), Catch::Contains("1 axes"));
  torch::nn::Module owner;
  EmbeddingConfig config;
  config.patch_size = {1, 1}, config.img_size = {4, 3}, config.positions = Positions::kSinCos;
  const auto fixed = PositionEmbedding::create(owner, config, 12, false, /*learned=*/false);
  CHECK(owner.named_parameters().size() == 0);
  CHECK(at::equal(fixed->forward(cells_of({4, 3})), sincos_table({4, 3}, 12, false)));
  CHECK(at::equal(fixed->forward(cells_of({2, 5})), resample_positions(sincos_table({4, 3}, 12, false).unsqueeze(0), {4, 3}, {2, 5}, 0)[0]));
  CHECK_FALSE(fixed->class_row().defined());
}

TEST_CASE("places in space are features of coordinates over the radius, whatever the unit is") {
  auto config = testing::eeg_embedding();
  auto twice = config;
  twice.radius = 2 * config.radius;
  torch::nn::Module owner, other;
  const auto near = PositionEmbedding::create(owner, config, 12, true, true), far = PositionEmbedding::create(other, twice, 12, true, true);
  initialise(owner, 1);
  initialise(other, 1);
  PatchTokens tokens;
  tokens.coords = at::randn({5, 4}) * 40;
  tokens.lengths = {5};
  const auto out = near->forward(tokens);
  tokens.coords.narrow(1, 0, 3).mul_(2);
  CHECK(at::allclose(far->forward(tokens), out, 1e-5, 1e-5));
  CHECK_FALSE(at::allclose(near->forward(tokens), out, 1e-5, 1e-5));
  CHECK_FALSE(near->class_row().defined());
  tokens.coords = at::Tensor();
  CHECK_THROWS_WITH(near->forward(tokens), Catch::Contains("coords is missing"));
  config.radius = 0;
  CHECK_THROWS_WITH(PositionEmbedding(config, 12, true), Catch::Contains("radius=0"));
}

TEST_CASE("a table that does not fit its grid is refused") {
  CHECK_THROWS_WITH(resample_positions(at::zeros({1, 7, 2}), {2, 3}, {3, 2}, 0), Catch::Contains("positions of 6 cells and 0 tokens must be [1, 6, D]"));
  CHECK_THROWS_WITH(resample_positions(at::zeros({6, 2}), {2, 3}, {3, 2}, 0), Catch::Contains("must be [1, 6, D]"));
  CHECK_THROWS_WITH(resample_positions(at::zeros({1, 6, 2}), {2, 3}, {6}, 0), Catch::Contains("a grid of [6]"));
  CHECK_THROWS_AS(resample_positions(at::zeros({1, 6, 2}), {2, 3}, {0, 6}, 0), c10::ValueError);
}
