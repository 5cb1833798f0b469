#pragma once
// Launchers on raw pointers, without torch headers, so that nvcc compiles them also where torch has no CUDA. float or double only.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/scalar.h"

namespace sslmed::ops::cuda {

// A tile of the matrix of products, [rows, columns], whose corner is (first_row, first_column).
struct SimilarityTile {
  void* products;
  std::int64_t first_row, rows, first_column, columns;
  double scale;           // 1 / temperature
  bool among_themselves;  // column i is row i, and left out
};

// For each row: peak (at first -infinity) and sum of its exponentials relative to it, over the tiles so far; loss receives minus the right key's logit.
// positive, own [R] of all rows; own may be null. Writes -infinity where a row meets itself.
cudaError_t similarity_tile_forward(Scalar type, const SimilarityTile& tile, const std::int64_t* positive, const std::int64_t* own, void* peak, void* sum,
                                    void* loss, cudaStream_t stream);

// Which side's softmax a product becomes, weighed by that side's gradients.
enum class SoftmaxOf { kRows, kColumns, kBoth };

// In place: grad * exp(product * scale - lse), of rows, columns or the sum of both; 0 where a row meets itself. grad, lse, own [R] are of the queries,
// which are the rows, or for kColumns the columns; own may be null.
cudaError_t similarity_tile_backward(Scalar type, const SimilarityTile& tile, SoftmaxOf side, const void* grad, const void* lse, const std::int64_t* own,
                                     cudaStream_t stream);

}  // namespace sslmed::ops::cuda
