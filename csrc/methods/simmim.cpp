#include "methods/simmim.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

#include "masking/mask.h"
#include "nn/vit.h"

namespace sslmed::methods {

SimMim::SimMim(std::shared_ptr<nn::Encoder> encoder, const SimMimOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Reconstruction("simmim", std::move(encoder), options.reconstruction, std::move(recipe)),
      options_(options),
      mask_cell_(options.mask_cell.empty() ? map_shape().cell : for_each_axis(options.mask_cell, map_shape().rank, "simmim", "mask_cell")) {
  TORCH_CHECK_VALUE(options.ratio > 0 && options.ratio < 1, "simmim: ratio=", options.ratio, " must be within (0, 1)");
  if (options.learned_fill) mask_value_ = register_parameter("mask_value", at::zeros({map_shape().in_chans}));
}

Exercise SimMim::pose(const DenseView& view) const {
  check(view);
  const auto sizes = view.sizes();
  const auto rank = sizes.size();
  std::vector<std::int64_t> grid{view.size(), 1};
  std::int64_t cells = 1;
  for (std::size_t a = 0; a < rank; ++a) {
    grid.push_back((sizes[a] + mask_cell_[a] - 1) / mask_cell_[a]);
    cells *= grid.back();
  }
  const auto keep = masking::keep_count(cells, options_.ratio);
  auto hidden = at::zeros({view.size(), cells}, at::kBool);
  auto* marks = hidden.mutable_data_ptr<bool>();
  for (std::int64_t b = 0; b < view.size(); ++b)
    for (const auto cell : masking::random_mask(cells, keep, view.draws[static_cast<std::size_t>(b)]).masked) marks[b * cells + cell] = true;
  hidden = hidden.view(grid).to(view.values.device());
  for (std::size_t a = 0; a < rank; ++a) {
    const auto axis = static_cast<std::int64_t>(a) + 2;
    hidden = hidden.repeat_interleave(mask_cell_[a], axis).narrow(axis, 0, sizes[a]);
  }
  if (!options_.learned_fill) return {view.values.masked_fill(hidden, 0), hidden};
  std::vector<std::int64_t> broadcast(rank + 2, 1);
  broadcast[1] = view.values.size(1);
  return {at::where(hidden, mask_value_.view(broadcast).to(view.values.scalar_type()), view.values), hidden};
}

at::Tensor SimMim::target(const DenseView& view) const {
  if (!options_.norm_target) return view.values;
  const auto sizes = view.sizes();
  std::vector<std::int64_t> grid;
  for (std::size_t a = 0; a < sizes.size(); ++a) {
    TORCH_CHECK_VALUE(sizes[a] % mask_cell_[a] == 0, "simmim: norm_target=True needs views that mask_cell=", mask_cell_[a], " divides, axis ", a, " has ",
                      sizes[a], " cells");
    grid.push_back(sizes[a] / mask_cell_[a]);
  }
  const auto channels = view.values.size(1);
  const auto cells = nn::patchify(view.values, mask_cell_);
  const auto split = cells.view({cells.size(0), cells.size(1), -1, channels});
  const auto [var, mean] = at::var_mean(split, {2}, /*unbiased=*/true, /*keepdim=*/true);
  return nn::unpatchify(((split - mean) * (var + 1e-6).rsqrt()).view(cells.sizes()), grid, mask_cell_);
}

}  // namespace sslmed::methods
