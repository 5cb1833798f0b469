// UPerNet's decoder.

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <array>
#include <string>

#include "nn/dense_decoder.h"

namespace sslmed::nn {
namespace {

constexpr std::array<std::int64_t, 4> kPoolCells{1, 2, 3, 6};

// A convolution, a norm and ReLU. The norm is over groups: batch statistics would tie samples to each other.
class UpernetConv : public torch::nn::Module {
 public:
  UpernetConv(std::int64_t in, std::int64_t out, std::int64_t rank, std::int64_t kernel, const UnetStyle& style) {
    conv_ = register_module("conv", std::make_shared<Conv>(in, out, rank, kernel));
    norm_ = register_module("norm", std::make_shared<UnetNorm>(out, style.groups));
  }
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return norm_->forward(conv_->forward(x, rows), rows).relu_(); }

 private:
  std::shared_ptr<Conv> conv_;
  std::shared_ptr<UnetNorm> norm_;
};

class UpernetDecoder : public DenseDecoder {
 public:
  explicit UpernetDecoder(const DenseDecoderConfig& config) : maps_(config.pyramid.widths.size()) {
    const auto& [rank, in_chans, widths, strides] = config.pyramid;
    auto style = config.style;
    if (style.groups == 0) style.groups = 32;  // pooled maps of one cell have no statistics of their own
    const auto add = [&](torch::nn::Module& owner, const std::string& name, std::int64_t in, std::int64_t kernel) {
      return owner.register_module(name, std::make_shared<UpernetConv>(in, config.features, config.pyramid.rank, kernel, style));
    };
    const auto pools = register_module("psp_modules", std::make_shared<torch::nn::Module>());
    for (std::size_t i = 0; i < kPoolCells.size(); ++i) pools_.push_back(add(*pools, std::to_string(i), widths.back(), 1));
    bottleneck_ = add(*this, "bottleneck", widths.back() + static_cast<std::int64_t>(kPoolCells.size()) * config.features, 3);
    const auto laterals = register_module("lateral_convs", std::make_shared<torch::nn::Module>());
    const auto levels = register_module("fpn_convs", std::make_shared<torch::nn::Module>());
    for (std::size_t i = 0; i + 1 < maps_; ++i) {
      laterals_.push_back(add(*laterals, std::to_string(i), widths[i], 1));
      levels_.push_back(add(*levels, std::to_string(i), config.features, 3));
    }
    fused_ = add(*this, "fpn_bottleneck", static_cast<std::int64_t>(maps_) * config.features, 3);
    classifier_ = register_module("classifier", std::make_shared<Conv>(config.features, config.out_channels, rank, 1, 1, /*biased=*/true));
  }

  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const at::Tensor& input, const Rows& rows) const override {
    TORCH_CHECK_VALUE(pyramid.size() == maps_, "decoder='upernet': the pyramid has ", pyramid.size(), " maps, expected ", maps_);
    const auto& last = pyramid.back();
    std::vector<at::Tensor> pooled{last};
    for (std::size_t i = 0; i < kPoolCells.size(); ++i)
      pooled.push_back(upsample_linear(pools_[i]->forward(adaptive_mean(last, kPoolCells[i], rows), rows), last.sizes().slice(2).vec(), rows));
    std::vector<at::Tensor> maps(maps_);
    maps.back() = bottleneck_->forward(at::cat(pooled, 1), rows);
    for (auto i = maps_ - 1; i-- > 0;) {
      const auto lateral = laterals_[i]->forward(pyramid[i], rows);
      maps[i] = lateral + upsample_linear(maps[i + 1], lateral.sizes().slice(2).vec(), rows);
    }
    const auto finest = maps.front().sizes().slice(2).vec();
    for (std::size_t i = 0; i + 1 < maps_; ++i) maps[i] = levels_[i]->forward(maps[i], rows);
    for (auto& map : maps) map = upsample_linear(map, finest, rows);
    const auto joined = fused_->forward(at::cat(maps, 1), rows);
    return upsample_linear(classifier_->forward(joined, rows), input.sizes().slice(2).vec(), rows);
  }

 private:
  std::size_t maps_;
  std::vector<std::shared_ptr<UpernetConv>> pools_, laterals_, levels_;
  std::shared_ptr<UpernetConv> bottleneck_, fused_;
  std::shared_ptr<Conv> classifier_;
};

}  // namespace

std::shared_ptr<DenseDecoder> build_upernet_decoder(const DenseDecoderConfig& config) { return std::make_shared<UpernetDecoder>(config); }

}  // namespace sslmed::nn
