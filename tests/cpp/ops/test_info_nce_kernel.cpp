// The CUDA passes over tiles of InfoNCE, on threads of the CPU, against the CPU's.

#include <ATen/Functions.h>

#include <limits>

#include "catch.h"
#include "ops/cuda/info_nce_kernel.cu"
#include "ops/info_nce.h"

using namespace sslmed;
using namespace sslmed::ops;

namespace {

constexpr std::int64_t kTile = 5;  // several tiles of few rows; a block's 256 threads are more than a tile has columns

struct Problem {
  at::Tensor q, k, positive, own;
  bool among_themselves;
  cuda::Scalar type;

  const std::int64_t* own_indices() const { return among_themselves ? nullptr : own.const_data_ptr<std::int64_t>(); }
};

template <class Visit>
void visit_tiles(const at::Tensor& rows, const at::Tensor& columns, bool among_themselves, Visit&& visit) {
  for (std::int64_t row = 0; row < rows.size(0); row += kTile) {
    for (std::int64_t column = 0; column < columns.size(0); column += kTile) {
      const auto count = std::min(kTile, rows.size(0) - row), width = std::min(kTile, columns.size(0) - column);
      auto products = at::mm(rows.narrow(0, row, count), columns.narrow(0, column, width).t()).contiguous();
      visit(cuda::SimilarityTile{products.data_ptr(), row, count, column, width, 1 / 0.4, among_themselves}, products);
    }
  }
}

// The gradients of `rows`, but for what positive pairs add, as the torch-aware part computes them.
at::Tensor gradients_of(const Problem& p, const at::Tensor& rows, const at::Tensor& columns, cuda::SoftmaxOf side, const at::Tensor& grad,
                        const at::Tensor& lse) {
  auto into = at::zeros_like(rows);
  visit_tiles(rows, columns, p.among_themselves, [&](const cuda::SimilarityTile& tile, const at::Tensor& products) {
    REQUIRE(cuda::similarity_tile_backward(p.type, tile, side, grad.const_data_ptr(), lse.const_data_ptr(), p.own_indices(), nullptr) == cudaSuccess);
    into.narrow(0, tile.first_row, tile.rows).add_(at::mm(products, columns.narrow(0, tile.first_column, tile.columns)));
  });
  return into;
}

}  // namespace

TEST_CASE("passes over tiles give the loss and the gradients of the CPU's kernel") {
  const auto type = GENERATE(at::kDouble, at::kFloat);
  const auto among_themselves = GENERATE(true, false);
  at::manual_seed(5);
  const auto options = at::TensorOptions().dtype(type);
  const std::int64_t n = 8, m = among_themselves ? n : 11;
  Problem p{at::randn({n, 3}, options),
            {},
            at::tensor({1, 0, 3, 2, 5, 4, 7, 6}, at::kLong),
            at::arange(n, at::kLong),
            among_themselves,
            type == at::kDouble ? cuda::Scalar::kDouble : cuda::Scalar::kFloat};
  p.k = among_themselves ? p.q : at::randn({m, 3}, options);
  const auto keys = among_themselves ? std::nullopt : std::optional(p.k), own = among_themselves ? std::nullopt : std::optional(p.own);
  const auto [losses, lse] = info_nce(p.q, keys, p.positive, own, 0.4);
  auto peak = at::full({n}, -std::numeric_limits<double>::infinity(), options), sum = at::zeros({n}, options), loss = at::zeros({n}, options);
  visit_tiles(p.q, p.k, among_themselves, [&](const cuda::SimilarityTile& tile, const at::Tensor&) {
    REQUIRE(cuda::similarity_tile_forward(p.type, tile, p.positive.const_data_ptr<std::int64_t>(), p.own_indices(), peak.data_ptr(), sum.data_ptr(),
                                          loss.data_ptr(), nullptr) == cudaSuccess);
  });
  const double tolerance = type == at::kDouble ? 1e-12 : 1e-5;
  CHECK(at::allclose(peak + sum.log(), lse, tolerance, tolerance));
  CHECK(at::allclose(loss + peak + sum.log(), losses, tolerance, tolerance));

  const auto grad = at::rand({n}, options), scaled = (grad / 0.4).contiguous();
  const auto [of_queries, of_keys] = info_nce_backward(grad, p.q, keys, p.positive, own, lse, 0.4, true);
  auto own_queries = gradients_of(p, p.q, p.k, among_themselves ? cuda::SoftmaxOf::kBoth : cuda::SoftmaxOf::kRows, scaled, lse);
  own_queries.sub_(p.k.index_select(0, p.positive) * scaled.unsqueeze(1));
  auto own_keys = among_themselves ? own_queries : gradients_of(p, p.k, p.q, cuda::SoftmaxOf::kColumns, scaled, lse);
  own_keys.index_put_({p.positive}, p.q * -scaled.unsqueeze(1), true);
  CHECK(at::allclose(own_queries, of_queries, tolerance, tolerance));
  if (!among_themselves) CHECK(at::allclose(own_keys, of_keys, tolerance, tolerance));
}

TEST_CASE("a tile that is nothing but a row itself adds nothing") {
  auto product = at::ones({1, 1}), peak = at::full({1}, -std::numeric_limits<double>::infinity()), sum = at::zeros({1}), loss = at::full({1}, 7);
  const auto positive = at::ones({1}, at::kLong);
  const cuda::SimilarityTile tile{product.data_ptr(), 0, 1, 0, 1, 2, true};
  REQUIRE(cuda::similarity_tile_forward(cuda::Scalar::kFloat, tile, positive.const_data_ptr<std::int64_t>(), nullptr, peak.data_ptr(), sum.data_ptr(),
                                        loss.data_ptr(), nullptr) == cudaSuccess);
  CHECK(sum.item<float>() == 0);
  CHECK(loss.item<float>() == 7);
}
