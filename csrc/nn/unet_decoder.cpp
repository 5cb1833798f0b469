// The expanding half of a U-Net, on any pyramid.

#include <c10/util/Exception.h>

#include <algorithm>
#include <string>

#include "nn/dense_decoder.h"

namespace sslmed::nn {
namespace {

class UnetDecoder : public DenseDecoder {
 public:
  explicit UnetDecoder(const DenseDecoderConfig& config) {
    auto [rank, in_chans, widths, strides] = config.pyramid;
    const auto axes = static_cast<std::size_t>(rank);
    auto kernels = config.kernels;
    if (kernels.empty()) kernels.assign(widths.size(), Axes(axes, 3));
    TORCH_CHECK_VALUE(kernels.size() == widths.size(), "decoder='unet': kernels has ", kernels.size(), " entries, expected one for each of ", widths.size(),
                      " maps");
    const Axes ones(axes, 1);
    if (strides.front() != ones) {
      const auto width = std::max<std::int64_t>(widths.front() / 2, std::min<std::int64_t>(widths.front(), 8));
      image_block_ = register_module("image_block", std::make_shared<UnetBlock>(in_chans, width, Axes(axes, 3), ones, config.style));
      widths.insert(widths.begin(), width);
      strides.insert(strides.begin(), ones);
      kernels.insert(kernels.begin(), Axes(axes, 3));
    }
    maps_ = config.pyramid.widths.size();
    auto style = config.style;
    style.residual = false;  // as in DynUNet, whose expanding half has basic blocks always
    const auto ups = register_module("upsamples", std::make_shared<torch::nn::Module>());
    for (auto level = widths.size() - 1; level > 0; --level) {
      auto up = strides[level];
      for (std::size_t axis = 0; axis < axes; ++axis) up[axis] /= strides[level - 1][axis];
      auto block = std::make_shared<UnetUpBlock>(widths[level], widths[level - 1], kernels[level], up, style);
      upsamples_.push_back(ups->register_module(std::to_string(upsamples_.size()), std::move(block)));
    }
    const auto output = register_module("output_block", std::make_shared<torch::nn::Module>());
    output_ = output->register_module("conv", std::make_shared<NamedConv>(widths.front(), config.out_channels, ones, ones, /*bias=*/true));
  }

  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const at::Tensor& input, const Rows& rows) const override {
    TORCH_CHECK_VALUE(pyramid.size() == maps_, "decoder='unet': the pyramid has ", pyramid.size(), " maps, expected ", maps_);
    auto x = pyramid.back();
    auto level = pyramid.size() - 1;
    for (const auto& up : upsamples_) {
      const bool image = level == 0;
      x = up->forward(x, image ? image_block_->forward(input, rows) : pyramid[level - 1], rows);
      if (!image) --level;
    }
    return output_->forward(x, rows);
  }

 private:
  std::size_t maps_ = 0;
  std::shared_ptr<UnetBlock> image_block_;               // null where the finest map has the input's resolution
  std::vector<std::shared_ptr<UnetUpBlock>> upsamples_;  // from coarse to fine
  std::shared_ptr<NamedConv> output_;
};

}  // namespace

std::shared_ptr<DenseDecoder> build_unet_decoder(const DenseDecoderConfig& config) { return std::make_shared<UnetDecoder>(config); }

}  // namespace sslmed::nn
