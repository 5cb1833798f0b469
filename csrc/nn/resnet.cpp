#include "nn/resnet.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr std::array<std::int64_t, 4> kStageWidths{64, 128, 256, 512};

// Every second cell, and zeros for the channels that the block adds.
at::Tensor padded_shortcut(const at::Tensor& x, std::int64_t width, std::int64_t stride) {
  auto cells = x;
  for (std::int64_t axis = 2; axis < x.dim(); ++axis) cells = cells.slice(axis, 0, std::nullopt, stride);
  auto shape = cells.sizes().vec();
  shape[1] = width - x.size(1);
  return at::cat({cells, at::zeros(shape, cells.options())}, 1);
}

}  // namespace

// relu(branch(x) + shortcut(x)): two convolutions of 3 cells, or a bottleneck of 1, 3 and 1.
class ResNetBlock : public torch::nn::Module {
 public:
  ResNetBlock(const ResNetConfig& config, std::int64_t rank, std::int64_t in, std::int64_t planes, std::int64_t stride)
      : width_(config.bottleneck ? 4 * planes : planes), stride_(stride) {
    const auto inner = planes * config.width_factor;
    if (config.bottleneck) {
      add(1, in, inner, rank, 1, 1);
      add(2, inner, inner, rank, 3, stride);
      add(3, inner, width_, rank, 1, 1);
    } else {
      add(1, in, width_, rank, 3, stride);
      add(2, width_, width_, rank, 3, 1);
    }
    resizes_ = stride != 1 || in != width_;
    if (resizes_ && config.project) {
      const auto downsample = register_module("downsample", std::make_shared<torch::nn::Module>());
      project_ = downsample->register_module("0", std::make_shared<Conv>(in, width_, rank, 1, stride, config.project_bias));
      project_norm_ = downsample->register_module("1", std::make_shared<BatchNorm>(width_));
    }
  }

  at::Tensor forward(const at::Tensor& x, const Rows& rows, const Context& context) const {
    const auto normed = [&](BatchNorm& norm, const at::Tensor& map) {
      return norm.forward(map, visible_at(context.visible, map.sizes().slice(2)), *context.comm);
    };
    auto out = x;
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      out = normed(*norms_[i], convs_[i]->forward(out, rows));
      if (i + 1 < convs_.size()) out = out.relu_();
    }
    if (project_) {
      out = out.add_(normed(*project_norm_, project_->forward(x, rows)));
    } else {
      out = out.add_(resizes_ ? padded_shortcut(x, width_, stride_) : x);
    }
    return out.relu_();
  }

  std::int64_t width() const noexcept { return width_; }
  BatchNorm& last_norm() { return *norms_.back(); }

 private:
  void add(int number, std::int64_t in, std::int64_t out, std::int64_t rank, std::int64_t kernel, std::int64_t stride) {
    const auto suffix = std::to_string(number);
    convs_.push_back(register_module("conv" + suffix, std::make_shared<Conv>(in, out, rank, kernel, stride)));
    norms_.push_back(register_module("bn" + suffix, std::make_shared<BatchNorm>(out)));
  }

  std::int64_t width_, stride_;
  bool resizes_ = false;
  std::vector<std::shared_ptr<Conv>> convs_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;
  std::shared_ptr<Conv> project_;
  std::shared_ptr<BatchNorm> project_norm_;
};

ResNet::ResNet(DenseShape shape, ResNetConfig config, std::uint64_t seed) : DenseEncoder(std::move(shape)), config_(std::move(config)) {
  const auto rank = dense_shape().rank;
  auto padding = config_.stem_kernel;
  for (auto& cells : padding) cells /= 2;
  conv1_ = register_module("conv1", std::make_shared<Conv>(dense_shape().in_chans, kStageWidths[0], config_.stem_kernel, config_.stem_stride, padding, false));
  bn1_ = register_module("bn1", std::make_shared<BatchNorm>(kStageWidths[0]));
  auto channels = kStageWidths[0];
  for (std::size_t i = 0; i < kStageWidths.size(); ++i) {
    const auto stage = register_module("layer" + std::to_string(i + 1), std::make_shared<torch::nn::Module>());
    auto& blocks = stages_.emplace_back();
    for (std::int64_t block = 0; block < config_.depths[i]; ++block) {
      const std::int64_t stride = i > 0 && block == 0 ? 2 : 1;
      blocks.push_back(stage->register_module(std::to_string(block), std::make_shared<ResNetBlock>(config_, rank, channels, kStageWidths[i], stride)));
      channels = blocks.back()->width();
    }
  }
  make_head(*this, "fc", channels);
  initialise_convolutional(*this, seed);
  if (!config_.zero_last) return;
  const c10::NoGradGuard guard;
  for (auto& blocks : stages_)
    for (auto& block : blocks) block->last_norm().weight.zero_();
}

std::vector<std::int64_t> ResNet::widths() const {
  std::vector<std::int64_t> out{kStageWidths[0]};
  for (const auto& blocks : stages_) out.push_back(blocks.back()->width());
  return out;
}

std::vector<std::int64_t> ResNet::strides() const {
  const auto stem = *std::max_element(config_.stem_stride.begin(), config_.stem_stride.end());
  auto stride = stem * (config_.max_pool ? 2 : 1);
  std::vector<std::int64_t> out{stem};
  for (std::size_t i = 0; i < stages_.size(); ++i) out.push_back(stride << i);
  return out;
}

std::vector<std::vector<std::int64_t>> ResNet::axis_strides() const {
  std::vector<std::vector<std::int64_t>> out{config_.stem_stride};
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    auto stride = config_.stem_stride;
    for (auto& cells : stride) cells = (cells * (config_.max_pool ? 2 : 1)) << i;
    out.push_back(std::move(stride));
  }
  return out;
}

Features ResNet::forward_dense(const at::Tensor& input, const Context& context) const {
  const auto& visible = context.visible;
  const auto rows = Rows::single(input.size(0), context.samples);
  auto x = conv1_->forward(hidden_zero(input, visible), rows);
  x = bn1_->forward(x, visible_at(visible, x.sizes().slice(2)), *context.comm).relu_();
  std::vector<at::Tensor> pyramid{x};
  if (config_.max_pool) x = hidden_zero(max_pool(x, /*kernel=*/3, /*stride=*/2, /*padding=*/1, rows), visible);
  for (const auto& blocks : stages_) {
    for (const auto& block : blocks) x = block->forward(x, rows, context);
    pyramid.push_back(x);
  }
  return features_of(std::move(pyramid), visible);
}

std::shared_ptr<DenseEncoder> build_resnet(const ModelConfig& model, ModelOptions& options) {
  ResNetConfig config;
  if (model.name == "resnet10") config.depths = {1, 1, 1, 1};
  if (model.name == "resnet34") config.depths = {3, 4, 6, 3};
  if (model.name == "resnet50" || model.name == "wide_resnet50_2") config.depths = {3, 4, 6, 3}, config.bottleneck = true;
  if (model.name == "wide_resnet50_2") config.width_factor = 2;
  const bool small = options.choice("stem", {"imagenet", "cifar"}) == "cifar";
  config.stem_kernel = options.axes("conv1_t_size", {small ? 3 : 7});
  config.stem_stride = options.axes("conv1_t_stride", {small ? 1 : 2});
  config.max_pool = !options.flag("no_max_pool", small);
  config.project = options.choice("shortcut_type", {"B", "A"}) == "B";
  config.project_bias = options.flag("bias_downsample", false);
  config.zero_last = options.flag("zero_init_last", true);
  options.finish();
  return std::make_shared<ResNet>(model.shape(), std::move(config), model.seed);
}

}  // namespace sslmed::nn
