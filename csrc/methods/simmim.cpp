#include "methods/simmim.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

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
  const auto hidden = hidden_cells(view, mask_cell_, options_.ratio, "simmim");
  if (!options_.learned_fill) return {view.values.masked_fill(hidden, 0), hidden};
  std::vector<std::int64_t> broadcast(static_cast<std::size_t>(view.values.dim()), 1);
  broadcast[1] = view.values.size(1);
  return {at::where(hidden, mask_value_.view(broadcast).to(view.values.scalar_type()), view.values), hidden};
}

at::Tensor SimMim::target(const DenseView& view) const { return options_.norm_target ? normalized_cells(view.values, mask_cell_, "simmim") : view.values; }

}  // namespace sslmed::methods
