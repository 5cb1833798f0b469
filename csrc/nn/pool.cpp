#include "nn/pool.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "nn/tokens.h"

namespace sslmed::nn {

at::Tensor region_means(const at::Tensor& tokens, const at::Tensor& region, const Lengths& lengths, std::int64_t regions) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(tokens.device());
  const auto batch = static_cast<std::int64_t>(lengths.size());
  const auto sequence = at::repeat_interleave(at::arange(batch, options), at::tensor(lengths, at::kLong).to(tokens.device()));
  // Tokens in no region count for the mean over all alone.
  const auto known = region.ge(0).to(tokens.scalar_type());
  const auto cell = sequence * regions + region.clamp_min(0);
  const auto sums = at::zeros({batch * regions, tokens.size(1)}, tokens.options()).index_add_(0, cell, tokens * known.unsqueeze(1));
  const auto counts = at::zeros({batch * regions}, tokens.options()).index_add_(0, cell, known).view({batch, regions, 1});
  const auto all = mean_rows(tokens, lengths, 0).unsqueeze(1);
  return at::where(counts.gt(0), sums.view({batch, regions, -1}) / counts.clamp_min(1), all).flatten(1);
}

}  // namespace sslmed::nn
