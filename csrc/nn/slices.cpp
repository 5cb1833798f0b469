#include "nn/slices.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr double kPoolMlpRatio = 4;

void check_slices(const SliceConfig& config) {
  TORCH_CHECK_VALUE(!config.axes.empty(), "SliceEncoder: axes must name at least one axis");
  auto axes = config.axes;
  std::sort(axes.begin(), axes.end());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    TORCH_CHECK_VALUE(axes[i] >= 0 && axes[i] < 3, "SliceEncoder: axes has ", axes[i], ", expected 0, 1 or 2");
    TORCH_CHECK_VALUE(i == 0 || axes[i] != axes[i - 1], "SliceEncoder: axes has ", axes[i], " twice");
  }
  TORCH_CHECK_VALUE(config.stride > 0, "SliceEncoder: stride=", config.stride, " must be at least 1");
  TORCH_CHECK_VALUE(config.chunk >= 0, "SliceEncoder: chunk=", config.chunk, " must not be negative");
  TORCH_CHECK_VALUE(config.in_chans >= 0, "SliceEncoder: in_chans=", config.in_chans, " must not be negative");
  const auto& size = config.slice_size;
  TORCH_CHECK_VALUE(size.empty() || size.size() == 2, "SliceEncoder: slice_size has ", size.size(), " numbers, expected rows and columns");
  for (const auto cells : size) TORCH_CHECK_VALUE(cells > 0, "SliceEncoder: slice_size=", cells, " must be at least 1");
}

}  // namespace

SliceEncoder::SliceEncoder(std::shared_ptr<Encoder> encoder, SliceConfig config) : config_(std::move(config)), encoder_(std::move(encoder)) {
  check_slices(config_);
  TORCH_CHECK_VALUE(encoder_ != nullptr, "SliceEncoder: needs an encoder");
  register_module("encoder", encoder_);
  const auto shape = encoder_->shape();
  TORCH_CHECK_VALUE(config_.feature == SliceFeature::kMean || shape.class_token, "SliceEncoder: feature='cls' needs an encoder with a class token");
  if (!config_.attention) return;
  const auto pools = register_module("pools", std::make_shared<torch::nn::Module>());
  for (std::size_t i = 0; i < config_.axes.size(); ++i)
    pools_.push_back(pools->register_module(std::to_string(i), std::make_shared<AttentivePool>(shape.dim, shape.heads, kPoolMlpRatio)));
  initialise(*pools, config_.seed);
}

EncoderShape SliceEncoder::shape() const {
  const auto inner = encoder_->shape();
  const auto parts = config_.join ? static_cast<std::int64_t>(config_.axes.size()) : 1;
  return {inner.dim * parts, 0, inner.heads, false, inner.adapters};
}

std::vector<std::int64_t> SliceEncoder::places(std::int64_t cells) const {
  std::vector<std::int64_t> out;
  if (config_.around < 0) {
    // As far from one end as from the other.
    for (auto at = (cells - 1) % config_.stride / 2; at < cells; at += config_.stride) out.push_back(at);
    return out;
  }
  const auto middle = cells / 2, reach = config_.around * config_.stride;
  TORCH_CHECK_VALUE(middle - reach >= 0 && middle + reach < cells, "SliceEncoder: around=", config_.around,
                    " slices on each side of the middle with stride=", config_.stride, " need an axis of at least ", 2 * reach + 1, " cells, got ", cells);
  for (auto at = middle - reach; at <= middle + reach; at += config_.stride) out.push_back(at);
  return out;
}

at::Tensor SliceEncoder::slices_of(const at::Tensor& volumes, std::int64_t axis) const {
  const auto chosen = at::tensor(places(volumes.size(axis + 2)), at::kLong).to(volumes.device());
  auto slices = volumes.index_select(axis + 2, chosen).movedim(axis + 2, 1).flatten(0, 1);  // [B·n, C, …]
  if (config_.upright) slices = slices.transpose(2, 3).flip(2);
  const auto& size = config_.slice_size;
  if (!size.empty() && (slices.size(2) != size[0] || slices.size(3) != size[1])) {
    const auto type = encoder_->parameters().front().scalar_type();
    const bool bytes = slices.scalar_type() == at::kByte;
    slices = at::_upsample_bilinear2d_aa(slices.to(bytes ? at::kFloat : type).contiguous(), size,
                                         /*align_corners=*/false, std::nullopt, std::nullopt);
    if (bytes) slices = slices.round().clamp(0, 255).to(at::kByte);
  }
  if (config_.in_chans > 1 && slices.size(1) == 1) slices = slices.expand({-1, config_.in_chans, -1, -1});
  return slices;
}

at::Tensor SliceEncoder::features_of_slices(const at::Tensor& slices, const Context& context) const {
  const auto read = [&](const at::Tensor& some, std::int64_t first) {
    Context own;
    own.comm = context.comm;
    const auto at = context.samples.begin() + first;
    own.samples.assign(at, at + some.size(0));
    const auto found = encoder_->forward_view(DenseInput{some, {}}, own);
    return config_.feature == SliceFeature::kClassToken ? found.summary() : found.pooled;
  };
  const auto count = slices.size(0);
  // Ranks with different numbers of samples must make the same passes where these gather.
  if (config_.chunk == 0 || count <= config_.chunk || encoder_->gathers()) return read(slices, 0);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < count; first += config_.chunk)
    parts.push_back(read(slices.narrow(0, first, std::min(config_.chunk, count - first)), first));
  return at::cat(parts);
}

Features SliceEncoder::forward_view(const Input& view, const Context& context) const {
  const auto* dense = std::get_if<DenseInput>(&view);
  TORCH_CHECK_VALUE(dense != nullptr, "SliceEncoder: takes dense views [B, C, depth, height, width], got patches");
  TORCH_CHECK_VALUE(!context.drop_path.defined(), "SliceEncoder: drop_path does not reach the encoder of slices; leave it at 0");
  const auto& volumes = dense->values;
  TORCH_CHECK_VALUE(volumes.dim() == 5, "SliceEncoder: expected a batch [B, C, depth, height, width], got ", volumes.sizes());
  const auto batch = volumes.size(0), parts = static_cast<std::int64_t>(config_.axes.size());
  auto samples = context.samples;
  if (samples.empty())
    for (std::int64_t b = 0; b < batch; ++b) samples.push_back(b);
  std::vector<at::Tensor> tokens, pooled;
  std::int64_t length = 0;
  for (std::size_t k = 0; k < config_.axes.size(); ++k) {
    const auto slices = slices_of(volumes, config_.axes[k]);
    const auto each = static_cast<std::int64_t>(places(volumes.size(config_.axes[k] + 2)).size());
    Context own;
    own.comm = context.comm;
    for (const auto sample : samples) own.samples.insert(own.samples.end(), static_cast<std::size_t>(each), sample);
    const auto found = features_of_slices(slices, own);
    const Rows rows(Lengths(static_cast<std::size_t>(batch), each), samples);
    const auto sequence = found.view({batch, each, found.size(1)});
    pooled.push_back(config_.attention ? pools_[k]->forward(found, rows) : sequence.mean(1));
    const auto place = static_cast<std::int64_t>(k) * found.size(1), after = (parts - 1) * found.size(1) - place;
    tokens.push_back(config_.join && parts > 1 ? at::constant_pad_nd(sequence, {place, after}) : sequence);
    length += each;
  }
  Features out;
  out.tokens = at::cat(tokens, 1).flatten(0, 1);
  out.lengths.assign(static_cast<std::size_t>(batch), length);
  out.pooled = config_.join ? at::cat(pooled, 1) : at::stack(pooled).mean(0);
  return out;
}

at::Tensor SliceEncoder::absent(const Context& context) const {
  at::Tensor zero;
  for (std::size_t k = 0; k < config_.axes.size(); ++k) {
    const auto one = encoder_->absent(context);
    zero = zero.defined() ? zero + one : one;
  }
  return zero;
}

}  // namespace sslmed::nn
