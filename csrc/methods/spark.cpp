#include "methods/spark.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "nn/dense_encoder.h"

namespace sslmed::methods {

Spark::Spark(std::shared_ptr<nn::Encoder> encoder, const SparkOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Reconstruction("spark", std::move(encoder), {.skips = true, .scored_all = options.scored_all, .seed = options.seed}, std::move(recipe)),
      options_(options) {
  const auto* dense = dynamic_cast<const nn::DenseEncoder*>(encoder_.get());
  TORCH_CHECK_VALUE(dense != nullptr && dense->takes_visible(), "spark: the encoder cannot leave out cells; it must be convolutional, such as 'resnet18'");
  TORCH_CHECK_VALUE(options.ratio > 0 && options.ratio < 1, "spark: ratio=", options.ratio, " must be within (0, 1)");
  const auto owner = register_module("mask_tokens", std::make_shared<torch::nn::Module>());
  for (const auto width : map_shape().widths) mask_tokens_.push_back(owner->register_parameter(std::to_string(mask_tokens_.size()), at::zeros({width})));
}

Exercise Spark::pose(const DenseView& view) const {
  check(view);
  const auto sizes = view.sizes();
  const auto& cell = map_shape().cell;
  for (std::size_t a = 0; a < sizes.size(); ++a)
    TORCH_CHECK_VALUE(sizes[a] % cell[a] == 0, "spark: axis ", a, " of the views has ", sizes[a], " cells, expected a multiple of the encoder's stride ",
                      cell[a]);
  const auto hidden = hidden_cells(view, cell, options_.ratio, "spark");
  return {view.values.masked_fill(hidden, 0), hidden};
}

at::Tensor Spark::visible_cells(const at::Tensor& hidden) const {
  auto coarse = hidden.select(1, 0);
  for (std::size_t a = 0; a < map_shape().cell.size(); ++a) coarse = coarse.slice(static_cast<std::int64_t>(a) + 1, 0, std::nullopt, map_shape().cell[a]);
  return coarse.logical_not();
}

nn::Features Spark::encode(const Exercise& exercise, const DenseView& view, const nn::Context& context) const {
  auto own = context;
  own.visible = visible_cells(exercise.answer);
  return Reconstruction::encode(exercise, view, own);
}

std::vector<at::Tensor> Spark::maps(const nn::Features& features, const Exercise& exercise) const {
  if (!exercise.answer.defined()) return features.pyramid;
  const auto visible = visible_cells(exercise.answer);
  std::vector<at::Tensor> out;
  for (std::size_t i = 0; i < features.pyramid.size(); ++i) {
    const auto& map = features.pyramid[i];
    std::vector<std::int64_t> broadcast(static_cast<std::size_t>(map.dim()), 1);
    broadcast[1] = map.size(1);
    const auto seen = nn::visible_at(visible, map.sizes().slice(2)).unsqueeze(1);
    out.push_back(at::where(seen, map, mask_tokens_[i].view(broadcast).to(map.scalar_type())));
  }
  return out;
}

at::Tensor Spark::target(const DenseView& view) const { return options_.norm_target ? normalized_cells(view.values, map_shape().cell, "spark") : view.values; }

}  // namespace sslmed::methods
