#pragma once
// Tokens of a sequence to one row by the part of the sample that each is in.

#include <ATen/core/Tensor.h>

#include "nn/rows.h"

namespace sslmed::nn {

// tokens [ΣN, D], region [ΣN] int64 in [0, regions), or -1 of a token that is in none → [B, regions · D]: the mean of each region's tokens, side by side. A
// region without a token takes the mean over all of the sequence, so that samples with other tokens can be compared.
at::Tensor region_means(const at::Tensor& tokens, const at::Tensor& region, const Lengths& lengths, std::int64_t regions);

}  // namespace sslmed::nn
