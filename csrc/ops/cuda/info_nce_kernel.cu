// Passes over a tile of products that a matrix multiplication has just written, one block a row. Tiles of a row come one after the other on the stream, so
// that sums are added in a fixed order.

#include <cmath>

#include "ops/cuda/block.h"
#include "ops/cuda/info_nce_kernel.h"
#include "ops/cuda/launch.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kTileThreads = 256;

template <class T>
__global__ void similarity_forward_kernel(SimilarityTile tile, const std::int64_t* positive, const std::int64_t* own, T* peaks, T* sums, T* losses) {
  const std::int64_t i = blockIdx.x, row = tile.first_row + i;
  T* x = static_cast<T*>(tile.products) + i * tile.columns;
  const std::int64_t self = (tile.among_themselves ? row : own != nullptr ? own[row] : -1) - tile.first_column;
  const std::int64_t right = positive[row] - tile.first_column;
  const T scale = static_cast<T>(tile.scale), before = peaks[row];
  T peak = before;
  for (std::int64_t j = threadIdx.x; j < tile.columns; j += kTileThreads) {
    if (j == right) losses[row] = -scale * x[j];
    if (j != self) peak = x[j] * scale > peak ? x[j] * scale : peak;
  }
  peak = block_max<kTileThreads>(peak);
  if (peak == -static_cast<T>(INFINITY)) return;  // nothing but the row itself, the same for the whole block
  T sum = 0;
  for (std::int64_t j = threadIdx.x; j < tile.columns; j += kTileThreads)
    if (j != self) sum += exp(x[j] * scale - peak);
  sum = block_sum<kTileThreads>(sum);
  if (threadIdx.x != 0) return;
  peaks[row] = peak;
  sums[row] = sums[row] * exp(before - peak) + sum;
}

template <class T>
__global__ void similarity_backward_kernel(SimilarityTile tile, SoftmaxOf side, const T* grad, const T* lse, const std::int64_t* own) {
  const std::int64_t i = blockIdx.x, row = tile.first_row + i;
  T* x = static_cast<T*>(tile.products) + i * tile.columns;
  const T scale = static_cast<T>(tile.scale);
  for (std::int64_t j = threadIdx.x; j < tile.columns; j += kTileThreads) {
    const std::int64_t column = tile.first_column + j;
    const bool self = tile.among_themselves ? row == column : own != nullptr && (side == SoftmaxOf::kColumns ? own[column] == row : own[row] == column);
    T value = 0;
    if (!self && side != SoftmaxOf::kColumns) value += grad[row] * exp(x[j] * scale - lse[row]);
    if (!self && side != SoftmaxOf::kRows) value += grad[column] * exp(x[j] * scale - lse[column]);
    x[j] = value;
  }
}

dim3 one_block_a_row(const SimilarityTile& tile) { return {static_cast<unsigned>(tile.rows), 1, 1}; }

// Half precision does not come here: rows are normalized in float.
template <class F>
cudaError_t dispatch_exact(Scalar type, F&& launch_as) {
  return type == Scalar::kDouble ? launch_as(double{}) : launch_as(float{});
}

}  // namespace

cudaError_t similarity_tile_forward(Scalar type, const SimilarityTile& tile, const std::int64_t* positive, const std::int64_t* own, void* peak, void* sum,
                                    void* loss, cudaStream_t stream) {
  if (tile.rows == 0) return cudaSuccess;
  return dispatch_exact(type, [&](auto tag) {
    using T = decltype(tag);
    return launch(&similarity_forward_kernel<T>, one_block_a_row(tile), kTileThreads, stream, tile, positive, own, static_cast<T*>(peak), static_cast<T*>(sum),
                  static_cast<T*>(loss));
  });
}

cudaError_t similarity_tile_backward(Scalar type, const SimilarityTile& tile, SoftmaxOf side, const void* grad, const void* lse, const std::int64_t* own,
                                     cudaStream_t stream) {
  if (tile.rows == 0) return cudaSuccess;
  return dispatch_exact(type, [&](auto tag) {
    using T = decltype(tag);
    return launch(&similarity_backward_kernel<T>, one_block_a_row(tile), kTileThreads, stream, tile, side, static_cast<const T*>(grad),
                  static_cast<const T*>(lse), own);
  });
}

}  // namespace sslmed::ops::cuda
