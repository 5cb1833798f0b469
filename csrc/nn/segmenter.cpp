#include "nn/segmenter.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "nn/unet.h"
#include "nn/vit.h"

namespace sslmed::nn {
namespace {

constexpr std::int64_t kVitMaps = 4;

// The blocks 2, 5, 8 and 11 of 12, as UNETR and the dense evaluations of DINOv2 take them.
std::vector<std::int64_t> even_layers(std::int64_t depth) {
  std::vector<std::int64_t> out;
  const auto count = std::min(kVitMaps, depth);
  for (std::int64_t i = 1; i <= count; ++i) out.push_back(i * depth / count - 1);
  return out;
}

void check_layers(const std::vector<std::int64_t>& layers, std::int64_t depth) {
  for (std::size_t i = 0; i < layers.size(); ++i)
    TORCH_CHECK_VALUE(layers[i] >= (i == 0 ? 0 : layers[i - 1] + 1) && layers[i] < depth, "segmenter: layers=", at::IntArrayRef(layers),
                      " must rise within 0 and ", depth - 1, ", the blocks of the encoder");
}

}  // namespace

Segmenter::Segmenter(std::shared_ptr<Encoder> encoder, SegmenterConfig config) : config_(std::move(config)), encoder_(std::move(encoder)) {
  TORCH_CHECK_VALUE(encoder_ != nullptr, "segmenter: needs an encoder");
  TORCH_CHECK_VALUE(config_.classes >= 2, "segmenter: classes=", config_.classes, " must be at least 2");
  TORCH_CHECK_VALUE(config_.style.groups >= 0, "segmenter: groups=", config_.style.groups, " must not be negative");
  DenseDecoderConfig decoder;
  decoder.style = config_.style;
  if (const auto* dense = dynamic_cast<const DenseEncoder*>(encoder_.get())) {
    TORCH_CHECK_VALUE(config_.layers.empty(), "segmenter: layers are for vision transformers; this encoder has a pyramid of its own");
    pyramid_ = {dense->dense_shape().rank, dense->dense_shape().in_chans, dense->widths(), dense->axis_strides()};
    if (const auto* unet = dynamic_cast<const UnetEncoder*>(dense)) decoder.style = unet->config().style, decoder.kernels = unet->config().kernels;
  } else if (const auto* vit = dynamic_cast<const VisionTransformer*>(encoder_.get())) {
    const auto& embedding = vit->config().embedding;
    if (config_.layers.empty()) config_.layers = even_layers(vit->config().depth);
    check_layers(config_.layers, vit->config().depth);
    pyramid_ = {static_cast<std::int64_t>(embedding.patch_size.size()), embedding.in_chans, {}, {}};
    pyramid_.widths.assign(config_.layers.size(), vit->config().dim);
    pyramid_.strides.assign(config_.layers.size(), embedding.patch_size);
  } else {
    TORCH_CHECK_VALUE(false, "segmenter: the encoder does not say what maps it makes; it must be a DenseEncoder, a ConvEncoder or an Encoder");
  }
  decoder.pyramid = pyramid_;
  decoder.out_channels = config_.classes;
  decoder.features = config_.features;
  register_module("encoder", encoder_);
  decoder_ = register_module("decoder", create_decoder(config_.decoder, decoder, config_.seed));
}

std::vector<at::Tensor> Segmenter::maps(const Features& features, const at::Tensor& input) const {
  if (!features.pyramid.empty()) return features.pyramid;
  std::vector<std::int64_t> shape{input.size(0), pyramid_.widths.front()};
  for (std::int64_t axis = 0; axis < pyramid_.rank; ++axis) shape.push_back(input.size(axis + 2) / pyramid_.strides.front()[static_cast<std::size_t>(axis)]);
  std::vector<at::Tensor> out;
  for (const auto& layer : features.layers) {
    const auto patches = drop_first(layer, features.lengths, features.prefix());
    out.push_back(patches.view({input.size(0), -1, shape[1]}).transpose(1, 2).reshape(shape));
  }
  return out;
}

at::Tensor Segmenter::forward_view(const Input& view, const at::Tensor& input, const Context& context) const {
  auto own = context;
  own.layers = config_.layers;
  return decoder_->forward(maps(encoder_->forward_view(view, own), input), input, Rows::single(input.size(0), context.samples));
}

at::Tensor Segmenter::forward(const at::Tensor& dense) const {
  const auto rank = pyramid_.rank;
  TORCH_CHECK_VALUE(dense.dim() == rank + 2 && dense.size(1) == pyramid_.in_chans, "segmenter: expected a batch [B, ", pyramid_.in_chans, ", ", rank,
                    " spatial axes], got ", dense.sizes());
  const auto* known = dynamic_cast<const DenseEncoder*>(encoder_.get());
  if (known != nullptr) {
    const auto input = known->standardized(dense);
    return forward_view(DenseInput{input, {}}, input);
  }
  const auto& vit = static_cast<const VisionTransformer&>(*encoder_);
  return forward_view(DenseInput{dense, {}}, vit.standardized_dense(dense));
}

}  // namespace sslmed::nn
