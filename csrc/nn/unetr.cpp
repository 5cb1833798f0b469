// UNETR's decoder: a level for each power of two between the input and the coarsest map.

#include <c10/util/Exception.h>

#include <algorithm>
#include <string>

#include "nn/dense_decoder.h"

namespace sslmed::nn {
namespace {

// A map brought to a finer level: transposed convolutions by 2, with a block after each but the first. MONAI's UnetrPrUpBlock.
class UnetrProjection : public torch::nn::Module {
 public:
  // `steps`: how often the resolution is doubled; at least once.
  UnetrProjection(std::int64_t in, std::int64_t out, std::int64_t rank, std::int64_t steps, const UnetStyle& style) {
    const auto axes = static_cast<std::size_t>(rank);
    first_ = register_module("transp_conv_init", std::make_shared<NamedUpConv>(in, out, Axes(axes, 2)));
    const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
    for (std::int64_t i = 1; i < steps; ++i) {
      const auto pair = blocks->register_module(std::to_string(i - 1), std::make_shared<torch::nn::Module>());
      ups_.push_back(pair->register_module("0", std::make_shared<NamedUpConv>(out, out, Axes(axes, 2))));
      blocks_.push_back(pair->register_module("1", std::make_shared<UnetBlock>(out, out, Axes(axes, 3), Axes(axes, 1), style)));
    }
  }
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const {
    auto out = first_->forward(x, rows);
    for (std::size_t i = 0; i < ups_.size(); ++i) out = blocks_[i]->forward(ups_[i]->forward(out, rows), rows);
    return out;
  }

 private:
  std::shared_ptr<NamedUpConv> first_;
  std::vector<std::shared_ptr<NamedUpConv>> ups_;
  std::vector<std::shared_ptr<UnetBlock>> blocks_;
};

// What a level of the input, or of a map that has the level's resolution, goes through. MONAI's UnetrBasicBlock.
class UnetrLevel : public torch::nn::Module {
 public:
  UnetrLevel(std::int64_t in, std::int64_t out, std::int64_t rank, const UnetStyle& style) {
    const auto axes = static_cast<std::size_t>(rank);
    layer_ = register_module("layer", std::make_shared<UnetBlock>(in, out, Axes(axes, 3), Axes(axes, 1), style));
  }
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return layer_->forward(x, rows); }

 private:
  std::shared_ptr<UnetBlock> layer_;
};

std::int64_t doublings(std::int64_t stride) {
  std::int64_t steps = 0;
  while ((std::int64_t{1} << steps) < stride) ++steps;
  TORCH_CHECK_VALUE((std::int64_t{1} << steps) == stride, "decoder='unetr': stride ", stride, " of the encoder's maps must be a power of two");
  return steps;
}

class UnetrDecoder : public DenseDecoder {
 public:
  explicit UnetrDecoder(const DenseDecoderConfig& config) : maps_(config.pyramid.widths.size()) {
    const auto& [rank, in_chans, widths, strides] = config.pyramid;
    for (const auto& stride : strides)
      TORCH_CHECK_VALUE(std::all_of(stride.begin(), stride.end(), [&](auto cells) { return cells == stride[0]; }),
                        "decoder='unetr': the maps' cells must be as long along every axis, got ", at::IntArrayRef(stride), "; use decoder='unet'");
    const auto levels = doublings(strides.back()[0]);
    TORCH_CHECK_VALUE(levels > 0, "decoder='unetr': the last map must be coarser than the input; use decoder='unet'");
    const Axes ones(static_cast<std::size_t>(rank), 1), twos(static_cast<std::size_t>(rank), 2), threes(static_cast<std::size_t>(rank), 3);
    auto style = config.style;
    style.residual = true;
    for (std::int64_t level = 0; level < levels; ++level) {
      const auto width = config.features << level;
      const auto name = "encoder" + std::to_string(level + 1);
      auto& skip = skips_.emplace_back();
      if (level == 0) {
        skip.level = register_module(name, std::make_shared<UnetrLevel>(in_chans, width, rank, style));
        continue;
      }
      skip.map = map_for(level, levels, strides);
      const auto steps = doublings(strides[skip.map][0]) - level;
      if (steps == 0) {
        skip.level = register_module(name, std::make_shared<UnetrLevel>(widths[skip.map], width, rank, style));
      } else {
        skip.projection = register_module(name, std::make_shared<UnetrProjection>(widths[skip.map], width, rank, steps, style));
      }
    }
    for (auto level = levels; level-- > 0;) {
      const auto below = level + 1 == levels ? widths.back() : config.features << (level + 1);
      auto block = std::make_shared<UnetUpBlock>(below, config.features << level, threes, twos, style);
      ups_.push_back(register_module("decoder" + std::to_string(level + 2), std::move(block)));
    }
    const auto output = register_module("out", std::make_shared<torch::nn::Module>());
    output_ = output->register_module("conv", std::make_shared<NamedConv>(config.features, config.out_channels, ones, ones, /*bias=*/true));
  }

  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const at::Tensor& input, const Rows& rows) const override {
    TORCH_CHECK_VALUE(pyramid.size() == maps_, "decoder='unetr': the pyramid has ", pyramid.size(), " maps, expected ", maps_);
    auto x = pyramid.back();
    auto level = skips_.size();
    for (const auto& up : ups_) {
      const auto& skip = skips_[--level];
      const auto& from = level == 0 ? input : pyramid[skip.map];
      x = up->forward(x, skip.level ? skip.level->forward(from, rows) : skip.projection->forward(from, rows), rows);
    }
    return output_->forward(x, rows);
  }

 private:
  struct Skip {
    std::size_t map = 0;
    std::shared_ptr<UnetrLevel> level;
    std::shared_ptr<UnetrProjection> projection;
  };

  // Of the maps that are not finer than the level those of the smallest stride; where there are several, evenly by depth.
  static std::size_t map_for(std::int64_t level, std::int64_t levels, const std::vector<Axes>& strides) {
    std::size_t first = 0;
    while (doublings(strides[first][0]) < level) ++first;
    std::size_t count = 1;
    while (first + count < strides.size() && strides[first + count] == strides[first]) ++count;
    return first + (static_cast<std::size_t>(level) * count + static_cast<std::size_t>(levels) - 1) / static_cast<std::size_t>(levels) - 1;
  }

  std::size_t maps_;
  std::vector<Skip> skips_;                        // of each level, from fine to coarse
  std::vector<std::shared_ptr<UnetUpBlock>> ups_;  // from coarse to fine
  std::shared_ptr<NamedConv> output_;
};

}  // namespace

std::shared_ptr<DenseDecoder> build_unetr_decoder(const DenseDecoderConfig& config) { return std::make_shared<UnetrDecoder>(config); }

}  // namespace sslmed::nn
