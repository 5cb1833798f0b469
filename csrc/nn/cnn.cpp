#include "nn/cnn.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <utility>

namespace sslmed::nn {

ConvEncoder::ConvEncoder(CnnConfig config, std::uint64_t seed) : config_(std::move(config)) {
  TORCH_CHECK_VALUE(config_.rank >= 1 && config_.rank <= 3, "rank must be 1, 2 or 3, got ", config_.rank);
  TORCH_CHECK_VALUE(config_.in_chans > 0, "in_chans must be positive, got ", config_.in_chans);
  TORCH_CHECK_VALUE(!config_.widths.empty(), "widths must hold a width for each stage");
  const auto stages = register_module("stages", std::make_shared<torch::nn::Module>());
  auto channels = config_.in_chans;
  for (std::size_t i = 0; i < config_.widths.size(); ++i) {
    const auto width = config_.widths[i];
    TORCH_CHECK_VALUE(width > 0, "widths must be positive, got ", width);
    const auto stage = stages->register_module(std::to_string(i), std::make_shared<torch::nn::Module>());
    std::vector<std::int64_t> shape{width, channels};
    shape.insert(shape.end(), static_cast<std::size_t>(config_.rank), 3);
    const auto conv = stage->register_module("conv", std::make_shared<torch::nn::Module>());
    weights_.push_back(conv->register_parameter("weight", at::zeros(shape)));
    norms_.push_back(stage->register_module("norm", std::make_shared<BatchNorm>(width)));
    channels = width;
  }
  initialise(*this, seed);
}

Features ConvEncoder::forward_view(const Input& view, const Context& context) const {
  const auto* dense = std::get_if<DenseInput>(&view);
  TORCH_CHECK_VALUE(dense != nullptr, "this encoder takes dense views [B, C, spatial…], got patches");
  auto x = dense->values;
  TORCH_CHECK_VALUE(x.dim() == config_.rank + 2 && x.size(1) == config_.in_chans, "expected a batch [B, ", config_.in_chans, ", ", config_.rank,
                    " spatial axes], got ", x.sizes());
  const auto type = weights_.front().scalar_type();
  x = x.scalar_type() == at::kByte ? x.to(type) / 255 : x.to(type);
  const auto rows = Rows::single(x.size(0), context.samples);
  Features out;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    x = at::relu(norms_[i]->forward(conv(x, weights_[i], at::Tensor(), /*stride=*/2, /*padding=*/1, rows), *context.comm));
    out.pyramid.push_back(x);
  }
  const auto cells = x.flatten(2).transpose(1, 2);  // [B, cells, D]
  out.lengths.assign(static_cast<std::size_t>(x.size(0)), cells.size(1));
  out.tokens = cells.flatten(0, 1);
  out.pooled = cells.mean(1);
  return out;
}

at::Tensor ConvEncoder::absent(const Context& context) const {
  std::vector<std::int64_t> shape{0, config_.in_chans};
  shape.insert(shape.end(), static_cast<std::size_t>(config_.rank), 8);
  return forward_view(DenseInput{at::zeros(shape, weights_.front().options().requires_grad(false)), {}}, context).pooled.sum();
}

}  // namespace sslmed::nn
