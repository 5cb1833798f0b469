#pragma once
// The seam of functional.h for bags: sequences of rows that are pooled by attention, with dropout of single units, and
// convolutions over the places of rows. Every call says whose rows it works on.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "nn/rows.h"

namespace sslmed::nn {

// Units that are set to zero in training (Srivastava et al., JMLR 2014): each sequence draws by its own seed, so that
// neither ranks nor the other samples of a batch change what is dropped.
struct Dropout {
  double rate = 0;
  std::vector<std::uint64_t> seeds;  // [B]; empty: nothing is dropped
};

// x [ΣN, D] with units dropped and the others divided by 1 - rate. `layer` tells the layers of a network apart.
at::Tensor dropout(const at::Tensor& x, const Dropout& how, std::uint64_t layer, const Rows& rows);
// Scores [ΣN, K] to weights that sum to one inside each sequence, column by column.
at::Tensor softmax_rows(const at::Tensor& scores, const Rows& rows);
// Sums of x [ΣN, D] weighted by [ΣN, K] over the rows of each sequence: [B, K, D].
at::Tensor weighted_sums(const at::Tensor& x, const at::Tensor& weights, const Rows& rows);
// Branch k of x [B, K, D] times row k of the weight [K, D], plus bias [K]: [B, K].
at::Tensor branch_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows& rows);
// x [B, C, height, width], weight [C, 1, odd, odd], bias [C] or undefined; a channel sees itself alone, and the map keeps
// its size.
at::Tensor depthwise_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows& rows);
// Attention inside each sequence by landmarks (Nyströmformer, Xiong et al., arXiv 2102.03902): the means of `landmarks`
// runs of consecutive rows, whose lengths differ by at most one, so that no row is made up to fill the last run (the
// reference pads with zeros, which take attention). The pseudo-inverse takes `iterations` steps. Sequences of no more rows
// than landmarks get exact attention. qkv [ΣN, 3·D] as attention() takes it; returns [ΣN, D].
at::Tensor nystrom_attention(const at::Tensor& qkv, std::int64_t heads, std::int64_t landmarks, std::int64_t iterations, const Rows& rows);
// What the first row of each sequence attends to among the others, mean over heads, exact: [ΣN - B, 1], one in sum.
at::Tensor first_row_attention(const at::Tensor& qkv, std::int64_t heads, const Rows& rows);

}  // namespace sslmed::nn
