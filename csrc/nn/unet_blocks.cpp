#include "nn/unet_blocks.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr double kUnetSlope = 0.01;

Axes unet_padding(const Axes& kernel, const Axes& stride) {
  auto padding = kernel;
  for (std::size_t axis = 0; axis < kernel.size(); ++axis) {
    TORCH_CHECK_VALUE(kernel[axis] + 1 >= stride[axis], "kernel_size=", kernel[axis], " is too small for stride=", stride[axis]);
    padding[axis] = (kernel[axis] - stride[axis] + 1) / 2;
  }
  return padding;
}

}  // namespace

NamedConv::NamedConv(std::int64_t in, std::int64_t out, Axes kernel, Axes stride, bool bias) : stride_(stride) {
  auto padding = unet_padding(kernel, stride);
  conv_ = register_module("conv", std::make_shared<Conv>(in, out, std::move(kernel), std::move(stride), std::move(padding), bias));
}

NamedUpConv::NamedUpConv(std::int64_t in, std::int64_t out, Axes stride) : stride_(std::move(stride)) {
  std::vector<std::int64_t> shape{in, out};
  shape.insert(shape.end(), stride_.begin(), stride_.end());
  weight_ = register_module("conv", std::make_shared<torch::nn::Module>())->register_parameter("weight", at::zeros(shape));
}

at::Tensor NamedUpConv::forward(const at::Tensor& x, const Rows& rows) const {
  return upsamples_directly(x, weight_, stride_) ? fused_upsample(x, weight_, stride_) : conv_transpose(x, weight_, {}, stride_, rows);
}

UnetNorm::UnetNorm(std::int64_t channels, std::int64_t groups) : groups_(groups > 0 ? std::gcd(groups, channels) : channels) {
  weight_ = register_parameter("weight", at::ones({channels}));
  bias_ = register_parameter("bias", at::zeros({channels}));
}

UnetBlock::UnetBlock(std::int64_t in, std::int64_t out, const Axes& kernel, const Axes& stride, const UnetStyle& style) : residual_(style.residual) {
  const Axes ones(kernel.size(), 1);
  conv1_ = register_module("conv1", std::make_shared<NamedConv>(in, out, kernel, stride));
  conv2_ = register_module("conv2", std::make_shared<NamedConv>(out, out, kernel, ones));
  norm1_ = register_module("norm1", std::make_shared<UnetNorm>(out, style.groups));
  norm2_ = register_module("norm2", std::make_shared<UnetNorm>(out, style.groups));
  if (!residual_ || (in == out && stride == ones)) return;
  conv3_ = register_module("conv3", std::make_shared<NamedConv>(in, out, ones, stride));
  norm3_ = register_module("norm3", std::make_shared<UnetNorm>(out, style.groups));
}

at::Tensor UnetBlock::forward(const std::vector<at::Tensor>& parts, const Rows& rows) const {
  if (!residual_ && convolves_directly(parts, conv1_->weight(), conv1_->stride()))
    return fused_block(parts, norm1_->behind(*conv1_), norm2_->behind(*conv2_), kUnetSlope);
  const auto x = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  auto out = conv1_->forward(x, rows);
  if (!residual_ && convolves_directly({out}, conv2_->weight(), conv2_->stride()))
    return fused_block_of(out, norm1_->behind(*conv1_), norm2_->behind(*conv2_), kUnetSlope);
  out = norm1_->forward(out, rows);
  out = at::leaky_relu_(out, kUnetSlope);
  out = norm2_->forward(conv2_->forward(out, rows), rows);
  if (residual_) out = out.add_(conv3_ ? norm3_->forward(conv3_->forward(x, rows), rows) : x);
  return at::leaky_relu_(out, kUnetSlope);
}

AttentionGate::Part AttentionGate::part(const char* name, std::int64_t in, std::int64_t out, std::int64_t rank, const UnetStyle& style) {
  const auto owner = register_module(name, std::make_shared<torch::nn::Module>());
  const Axes ones(static_cast<std::size_t>(rank), 1);
  return {owner->register_module("0", std::make_shared<NamedConv>(in, out, ones, ones, /*bias=*/true)),
          owner->register_module("1", std::make_shared<UnetNorm>(out, style.groups))};
}

AttentionGate::AttentionGate(std::int64_t channels, std::int64_t rank, const UnetStyle& style) {
  const auto inner = std::max<std::int64_t>(channels / 2, 1);
  below_ = part("W_g", channels, inner, rank, style);
  skip_ = part("W_x", channels, inner, rank, style);
  gate_ = part("psi", inner, 1, rank, style);
}

at::Tensor AttentionGate::forward(const at::Tensor& below, const at::Tensor& skip, const Rows& rows) const {
  const auto joint = (through(below_, below, rows) + through(skip_, skip, rows)).relu_();
  return skip * through(gate_, joint, rows).sigmoid();
}

UnetUpBlock::UnetUpBlock(std::int64_t in, std::int64_t out, const Axes& kernel, const Axes& up, const UnetStyle& style) {
  const Axes ones(kernel.size(), 1);
  transp_conv_ = register_module("transp_conv", std::make_shared<NamedUpConv>(in, out, up));
  if (style.attention) attention_ = register_module("attention", std::make_shared<AttentionGate>(out, static_cast<std::int64_t>(kernel.size()), style));
  conv_block_ = register_module("conv_block", std::make_shared<UnetBlock>(2 * out, out, kernel, ones, style));
}

at::Tensor UnetUpBlock::forward(const at::Tensor& x, const at::Tensor& skip, const Rows& rows) const {
  const auto grown = cut_to(transp_conv_->forward(x, rows), skip.sizes().slice(2));
  return conv_block_->forward({grown, attention_ ? attention_->forward(grown, skip, rows) : skip}, rows);
}

at::Tensor cut_to(const at::Tensor& x, at::IntArrayRef size) {
  auto out = x;
  for (std::int64_t axis = 2; axis < x.dim(); ++axis) {
    const auto extent = size[static_cast<std::size_t>(axis - 2)];
    TORCH_CHECK_VALUE(x.size(axis) >= extent, "the maps do not fit each other: axis ", axis - 2, " grew to ", x.size(axis), " cells, expected at least ",
                      extent);
    if (x.size(axis) != extent) out = out.narrow(axis, 0, extent);
  }
  return out;
}

void initialise_unet(torch::nn::Module& module, std::uint64_t seed) {
  const c10::NoGradGuard guard;
  const auto generator = at::detail::createCPUGenerator(seed);
  for (auto& item : module.named_parameters()) {
    auto& parameter = item.value();
    if (parameter.dim() < 2) continue;
    const auto fan_in = static_cast<double>(parameter[0].numel());  // of transposed ones too, as torch counts it
    parameter.normal_(0, std::sqrt(2 / (1 + kUnetSlope * kUnetSlope) / fan_in), generator);
  }
}

}  // namespace sslmed::nn
