// Torch-aware launch code; built only where torch has CUDA. Tiles are products of matrices by cuBLAS, large enough to fill a device.

#include "ops/info_nce.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>

#include "ops/cuda/info_nce_kernel.h"
#include "ops/cuda/scalar_of.h"

namespace sslmed::ops {
namespace {

constexpr std::int64_t kSide = 4096;

const std::int64_t* device_indices(const std::optional<at::Tensor>& indices) { return indices ? indices->const_data_ptr<std::int64_t>() : nullptr; }

// visit(tile, products, first row, rows, first column, columns) for all tiles, those of a row from left to right.
template <class Visit>
void for_device_tiles(const at::Tensor& rows, const at::Tensor& columns, bool among_themselves, double scale, Visit&& visit) {
  const std::int64_t n = rows.size(0), m = columns.size(0);
  auto buffer = at::empty({std::min(kSide, n) * std::min(kSide, m)}, rows.options());
  for (std::int64_t row = 0; row < n; row += kSide) {
    for (std::int64_t column = 0; column < m; column += kSide) {
      const std::int64_t count = std::min(kSide, n - row), width = std::min(kSide, m - column);
      auto products = buffer.narrow(0, 0, count * width).view({count, width});
      at::mm_out(products, rows.narrow(0, row, count), columns.narrow(0, column, width).t());
      visit(cuda::SimilarityTile{products.data_ptr(), row, count, column, width, scale, among_themselves}, products);
    }
  }
}

std::tuple<at::Tensor, at::Tensor> info_nce_on_cuda(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive,
                                                    const std::optional<at::Tensor>& own, double temperature) {
  check_info_nce(queries, keys, positive, own, temperature);
  const c10::cuda::CUDAGuard guard(queries.device());
  const auto q = queries.contiguous(), k = keys ? keys->contiguous() : q, right = positive.contiguous();
  const auto self = own ? std::optional(own->contiguous()) : std::nullopt;
  auto losses = at::zeros({q.size(0)}, q.options()), sums = at::zeros_like(losses);
  auto peaks = at::full_like(losses, -std::numeric_limits<double>::infinity());
  const auto type = scalar_of("info_nce", q);
  for_device_tiles(q, k, !keys, 1 / temperature, [&](const cuda::SimilarityTile& tile, const at::Tensor&) {
    C10_CUDA_CHECK(cuda::similarity_tile_forward(type, tile, device_indices(right), device_indices(self), peaks.data_ptr(), sums.data_ptr(), losses.data_ptr(),
                                                 c10::cuda::getCurrentCUDAStream()));
  });
  const auto lse = peaks + sums.log();
  return {losses + lse, lse};
}

std::tuple<at::Tensor, at::Tensor> info_nce_backward_on_cuda(const at::Tensor& grad, const at::Tensor& queries, const std::optional<at::Tensor>& keys,
                                                             const at::Tensor& positive, const std::optional<at::Tensor>& own, const at::Tensor& lse,
                                                             double temperature, bool wants_keys) {
  const c10::cuda::CUDAGuard guard(queries.device());
  const auto q = queries.contiguous(), k = keys ? keys->contiguous() : q, right = positive.contiguous(), sums = lse.contiguous();
  const auto self = own ? std::optional(own->contiguous()) : std::nullopt;
  const auto g = (grad / temperature).contiguous();
  auto of_queries = at::zeros_like(q), of_keys = keys && wants_keys ? at::zeros_like(k) : at::Tensor();
  const auto type = scalar_of("info_nce", q);
  const auto side_of = [&](const at::Tensor& rows, const at::Tensor& columns, cuda::SoftmaxOf side, const at::Tensor& into) {
    for_device_tiles(rows, columns, !keys, 1 / temperature, [&](const cuda::SimilarityTile& tile, const at::Tensor& products) {
      C10_CUDA_CHECK(
          cuda::similarity_tile_backward(type, tile, side, g.const_data_ptr(), sums.const_data_ptr(), device_indices(self), c10::cuda::getCurrentCUDAStream()));
      auto own_rows = into.narrow(0, tile.first_row, tile.rows);
      at::addmm_out(own_rows, own_rows, products, columns.narrow(0, tile.first_column, tile.columns));
    });
  };
  side_of(q, k, keys ? cuda::SoftmaxOf::kRows : cuda::SoftmaxOf::kBoth, of_queries);
  if (of_keys.defined()) side_of(k, q, cuda::SoftmaxOf::kColumns, of_keys);
  of_queries.sub_(k.index_select(0, right) * g.unsqueeze(1));
  const auto& others = keys ? of_keys : of_queries;
  // A sum by index_put is the same in every run, which index_add is not on CUDA.
  if (others.defined()) others.index_put_({right}, q * -g.unsqueeze(1), /*accumulate=*/true);
  return {of_queries, of_keys};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CUDA, m) {
  m.impl("info_nce", sslmed::ops::info_nce_on_cuda);
  m.impl("info_nce_backward", sslmed::ops::info_nce_backward_on_cuda);
}
