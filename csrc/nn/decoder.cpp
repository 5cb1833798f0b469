#include "nn/decoder.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kNarrowest = 8;

void check_decoder(const DecoderConfig& config) {
  TORCH_CHECK_VALUE(!config.widths.empty(), "widths must hold the channels of each map of the pyramid");
  TORCH_CHECK_VALUE(config.widths.size() == config.strides.size(), "strides has ", config.strides.size(), " numbers, expected one for each of ",
                    config.widths.size(), " widths");
  for (const auto width : config.widths) TORCH_CHECK_VALUE(width > 0, "widths=", width, " must be at least 1");
  for (std::size_t i = 0; i < config.strides.size(); ++i)
    TORCH_CHECK_VALUE(config.strides[i] >= (i == 0 ? 1 : config.strides[i - 1]), "strides must rise from 1 or more, got ", config.strides);
  TORCH_CHECK_VALUE(config.rank >= 1 && config.rank <= 3, "rank=", config.rank, " must be 1, 2 or 3");
  TORCH_CHECK_VALUE(config.out_channels > 0, "out_channels=", config.out_channels, " must be at least 1");
}

}  // namespace

class UpBlock : public torch::nn::Module {
 public:
  UpBlock(std::int64_t in, std::int64_t out, std::int64_t rank) : groups_(std::gcd(out, std::int64_t{8})) {
    conv_ = register_module("conv", std::make_shared<Conv>(in, out, rank, 3));
    const auto norm = register_module("norm", std::make_shared<torch::nn::Module>());
    weight_ = norm->register_parameter("weight", at::ones({out}));
    bias_ = norm->register_parameter("bias", at::zeros({out}));
  }
  at::Tensor forward(const at::Tensor& x, const Rows& single) const {
    return at::gelu(group_norm(conv_->forward(x, single), groups_, weight_, bias_, 1e-5, single));
  }

 private:
  std::int64_t groups_;
  std::shared_ptr<Conv> conv_;
  at::Tensor weight_, bias_;
};

ConvDecoder::ConvDecoder(DecoderConfig config, std::uint64_t seed) : config_(std::move(config)) {
  check_decoder(config_);
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  const auto add = [&](std::int64_t in, std::int64_t out, std::int64_t stride) {
    blocks_.push_back(blocks->register_module(std::to_string(blocks_.size()), std::make_shared<UpBlock>(in, out, config_.rank)));
    levels_.push_back(stride);
  };
  auto width = config_.widths.back();
  for (auto i = config_.widths.size() - 1; i-- > 0;) {
    const auto out = config_.widths[i];
    add(width + (config_.skips ? out : 0), out, config_.strides[i]);
    width = out;
  }
  for (auto stride = config_.strides.front(); stride > 1;) {
    stride = (stride + 1) / 2;
    const auto out = std::max(std::min(width, kNarrowest), width / 2);
    add(width, out, stride);
    width = out;
  }
  head_ = register_module("head", std::make_shared<Conv>(width, config_.out_channels, config_.rank, 1, 1, /*bias=*/true));
  initialise_convolutional(*this, seed);
}

at::Tensor ConvDecoder::forward(const std::vector<at::Tensor>& pyramid, const std::vector<std::int64_t>& size, const Rows& single) const {
  const auto maps = config_.widths.size();
  TORCH_CHECK_VALUE(static_cast<std::int64_t>(size.size()) == config_.rank, "size has ", size.size(), " numbers, expected one for each of rank=", config_.rank,
                    " axes");
  TORCH_CHECK_VALUE(pyramid.size() == maps || (!config_.skips && pyramid.size() == 1), "pyramid has ", pyramid.size(), " maps, expected ", maps);
  auto x = pyramid.back();
  TORCH_CHECK_VALUE(x.dim() == config_.rank + 2 && x.size(1) == config_.widths.back(), "expected a last map [B, ", config_.widths.back(), ", ", config_.rank,
                    " spatial axes], got ", x.sizes());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    auto cells = size;
    for (std::size_t axis = 0; axis < cells.size(); ++axis)  // an axis of shorter strides has reached its size before the others
      cells[axis] = std::max((cells[axis] + levels_[i] - 1) / levels_[i], x.size(static_cast<std::int64_t>(axis) + 2));
    x = upsample_nearest(x, cells, single);
    if (config_.skips && i + 1 < maps) x = at::cat({x, pyramid[maps - 2 - i]}, 1);
    x = blocks_[i]->forward(x, single);
  }
  return head_->forward(x, single);
}

}  // namespace sslmed::nn
