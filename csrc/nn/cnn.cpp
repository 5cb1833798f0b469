#include "nn/cnn.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

namespace sslmed::nn {

ConvEncoder::ConvEncoder(CnnConfig config, std::uint64_t seed)
    : ConvEncoder(DenseShape{config.rank, config.in_chans, 0, {}, {}}, std::move(config.widths), seed) {}

ConvEncoder::ConvEncoder(DenseShape shape, std::vector<std::int64_t> widths, std::uint64_t seed) : DenseEncoder(std::move(shape)), widths_(std::move(widths)) {
  TORCH_CHECK_VALUE(!widths_.empty(), "widths must hold a width for each stage");
  const auto stages = register_module("stages", std::make_shared<torch::nn::Module>());
  auto channels = dense_shape().in_chans;
  for (std::size_t i = 0; i < widths_.size(); ++i) {
    const auto width = widths_[i];
    TORCH_CHECK_VALUE(width > 0, "widths=", width, " must be at least 1");
    const auto stage = stages->register_module(std::to_string(i), std::make_shared<torch::nn::Module>());
    convs_.push_back(stage->register_module("conv", std::make_shared<Conv>(channels, width, dense_shape().rank, 3, 2)));
    norms_.push_back(stage->register_module("norm", std::make_shared<BatchNorm>(width)));
    channels = width;
  }
  make_head(*this, "head", channels);
  initialise(*this, seed);
}

std::vector<std::int64_t> ConvEncoder::strides() const {
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < widths_.size(); ++i) out.push_back(std::int64_t{2} << i);
  return out;
}

Features ConvEncoder::forward_dense(const at::Tensor& input, const Context& context) const {
  const auto rows = Rows::single(input.size(0), context.samples);
  auto x = hidden_zero(input, context.visible);
  std::vector<at::Tensor> pyramid;
  for (std::size_t i = 0; i < convs_.size(); ++i) {
    x = convs_[i]->forward(x, rows);
    x = norms_[i]->forward(x, visible_at(context.visible, x.sizes().slice(2)), *context.comm).relu_();
    pyramid.push_back(x);
  }
  return features_of(std::move(pyramid), context.visible);
}

std::shared_ptr<DenseEncoder> build_convnet(const ModelConfig& model, ModelOptions& options) {
  const auto widths = options.integers("widths", {16, 32, 64});
  options.finish();
  return std::make_shared<ConvEncoder>(model.shape(), widths, model.seed);
}

}  // namespace sslmed::nn
