#include "nn/dense_encoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <string>
#include <utility>

namespace sslmed::nn {

DenseEncoder::DenseEncoder(DenseShape shape) : dense_shape_(std::move(shape)) {
  auto& [rank, in_chans, num_classes, mean, std] = dense_shape_;
  TORCH_CHECK_VALUE(rank >= 1 && rank <= 3, "rank=", rank, " must be 1, 2 or 3");
  TORCH_CHECK_VALUE(in_chans > 0, "in_chans=", in_chans, " must be at least 1");
  TORCH_CHECK_VALUE(num_classes >= 0, "num_classes=", num_classes, " must not be negative");
  const auto channels = static_cast<std::size_t>(in_chans);
  if (mean.empty()) mean.assign(channels, 0);
  if (std.empty()) std.assign(channels, 1);
  TORCH_CHECK_VALUE(mean.size() == channels, "pixel_mean has ", mean.size(), " numbers, expected one for each of ", channels, " channels");
  TORCH_CHECK_VALUE(std.size() == channels, "pixel_std has ", std.size(), " numbers, expected one for each of ", channels, " channels");
  for (const auto value : std) TORCH_CHECK_VALUE(value > 0, "pixel_std=", value, " must be positive");
  std::vector<std::int64_t> broadcast(static_cast<std::size_t>(rank) + 1, 1);
  broadcast[0] = in_chans;
  const auto deviation = at::tensor(std, at::kDouble);
  pixel_scale_ = deviation.mul(255).reciprocal().view(broadcast);
  pixel_shift_ = (-at::tensor(mean, at::kDouble) / deviation).view(broadcast);
}

void DenseEncoder::make_head(torch::nn::Module& owner, const std::string& name, std::int64_t dim) {
  reference_ = parameters().front();
  if (dense_shape_.num_classes > 0) head_ = owner.register_module(name, std::make_shared<Linear>(dim, dense_shape_.num_classes));
}

std::vector<std::vector<std::int64_t>> DenseEncoder::axis_strides() const {
  std::vector<std::vector<std::int64_t>> out;
  for (const auto stride : strides()) out.emplace_back(static_cast<std::size_t>(dense_shape_.rank), stride);
  return out;
}

at::Tensor DenseEncoder::checked(const Input& view) const {
  const auto* dense = std::get_if<DenseInput>(&view);
  TORCH_CHECK_VALUE(dense != nullptr, "this encoder takes dense views [B, C, spatial…], got patches");
  const auto& x = dense->values;
  const auto& [rank, in_chans, num_classes, mean, std] = dense_shape_;
  TORCH_CHECK_VALUE(x.dim() == rank + 2, "expected a batch [B, ", in_chans, ", ", rank, " spatial axes] of rank=", rank, ", got ", x.sizes());
  TORCH_CHECK_VALUE(x.size(1) == in_chans, "expected a batch [B, ", in_chans, ", ", rank, " spatial axes] of in_chans=", in_chans, ", got ", x.sizes());
  for (std::int64_t axis = 2; axis < x.dim(); ++axis)
    TORCH_CHECK_VALUE(x.size(axis) >= min_size(), "the input is too small: axis ", axis - 2, " has ", x.size(axis), " cells, expected at least ", min_size());
  return standardized(x);
}

at::Tensor DenseEncoder::standardized(const at::Tensor& x) const {
  const auto type = reference_.scalar_type();
  if (x.scalar_type() != at::kByte) return x.to(type);
  const auto options = x.options().dtype(type);
  return x.to(type).mul_(pixel_scale_.to(options)).add_(pixel_shift_.to(options));
}

Features DenseEncoder::forward_view(const Input& view, const Context& context) const {
  TORCH_CHECK_VALUE(!context.visible.defined() || takes_visible(), "this encoder cannot leave out cells; masks need a convolutional encoder");
  return forward_dense(checked(view), context);
}

at::Tensor DenseEncoder::forward(const at::Tensor& dense) const {
  const auto pooled = forward_view(DenseInput{dense, {}}).pooled;
  return head_ ? head_->forward(pooled, Rows::single(pooled.size(0))) : pooled;
}

at::Tensor DenseEncoder::forward_features(const at::Tensor& dense) const {
  const auto features = forward_view(DenseInput{dense, {}});
  const auto cells = features.tokens.view({dense.size(0), -1, features.tokens.size(1)});
  return cells.transpose(1, 2).reshape(features.pyramid.back().sizes());
}

at::Tensor DenseEncoder::pass_without_samples(const Context& context) const {
  std::vector<std::int64_t> shape{0, dense_shape_.in_chans};
  shape.insert(shape.end(), static_cast<std::size_t>(dense_shape_.rank), std::max<std::int64_t>(min_size(), 8));
  const auto options = reference_.options().requires_grad(false);
  Context own;
  own.comm = context.comm;
  return forward_dense(at::zeros(shape, options), own).pooled.sum();
}

at::Tensor visible_at(const at::Tensor& visible, at::IntArrayRef size) {
  if (!visible.defined()) return visible;
  TORCH_CHECK_VALUE(visible.scalar_type() == at::kBool, "visible must be bool, got ", visible.scalar_type());
  TORCH_CHECK_VALUE(visible.dim() == static_cast<std::int64_t>(size.size()) + 1, "visible must be [B, cells of the last map], got ", visible.sizes());
  auto out = visible;
  for (std::int64_t axis = 1; axis < visible.dim(); ++axis) {
    const auto extent = size[static_cast<std::size_t>(axis - 1)];
    TORCH_CHECK_VALUE(visible.size(axis) > 0 && extent % visible.size(axis) == 0, "visible ", visible.sizes(), " does not divide a map of ", size);
    if (extent != visible.size(axis)) out = out.repeat_interleave(extent / visible.size(axis), axis);
  }
  return out;
}

at::Tensor hidden_zero(const at::Tensor& x, const at::Tensor& visible) {
  return visible.defined() ? x * visible_at(visible, x.sizes().slice(2)).unsqueeze(1) : x;
}

Features features_of(std::vector<at::Tensor> pyramid, const at::Tensor& visible) {
  Features out;
  const auto& last = pyramid.back();
  const auto cells = last.flatten(2).transpose(1, 2);  // [B, cells, D]
  out.lengths.assign(static_cast<std::size_t>(last.size(0)), cells.size(1));
  out.tokens = cells.flatten(0, 1);
  if (visible.defined()) {
    const auto kept = visible.flatten(1).to(cells.scalar_type()).unsqueeze(2);  // [B, cells, 1]
    out.pooled = (cells * kept).sum(1) / kept.sum(1).clamp_min(1);
  } else {
    out.pooled = cells.mean(1);
  }
  out.pyramid = std::move(pyramid);
  return out;
}

}  // namespace sslmed::nn
