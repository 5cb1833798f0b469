#pragma once
// Blocks of U-Nets over inputs of rank 1, 2 or 3, under MONAI's parameter names (DynUNet, UNETR).

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/conv_layers.h"
#include "nn/fused_blocks.h"

namespace sslmed::nn {

using Axes = std::vector<std::int64_t>;  // one number for each axis

// What the blocks of a network share.
struct UnetStyle {
  std::int64_t groups = 0;  // of group normalization, at most: as many as divide the channels; 0: each channel by itself (instance normalization)
  bool residual = false;    // shortcuts around each pair of convolutions
  bool attention = false;   // gates on the skip connections (Oktay et al., arXiv 1804.03999)
};

// A convolution whose weights have the name "conv"; padding keeps the extent where the stride is 1.
class NamedConv : public torch::nn::Module {
 public:
  NamedConv(std::int64_t in, std::int64_t out, Axes kernel, Axes stride, bool bias = false);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return conv_->forward(x, rows); }
  const at::Tensor& weight() const noexcept { return conv_->weight; }
  const Axes& stride() const noexcept { return stride_; }

 private:
  Axes stride_;
  std::shared_ptr<Conv> conv_;
};

// A transposed convolution whose kernel is its stride, under the name "conv": each cell becomes a block of cells.
class NamedUpConv : public torch::nn::Module {
 public:
  NamedUpConv(std::int64_t in, std::int64_t out, Axes stride);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const;

 private:
  Axes stride_;
  at::Tensor weight_;  // [in, out, kernel…]
};

// Group or instance normalization with a learned scale and shift.
class UnetNorm : public torch::nn::Module {
 public:
  UnetNorm(std::int64_t channels, std::int64_t groups);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return group_norm(x, groups_, weight_, bias_, 1e-5, rows); }
  // A convolution and this norm behind it.
  FusedConv behind(const NamedConv& conv) const { return {conv.weight(), weight_, bias_, groups_}; }

 private:
  std::int64_t groups_;
  at::Tensor weight_, bias_;
};

// Two convolutions with a norm and a leaky ReLU (slope .01) each. MONAI's UnetBasicBlock, or UnetResBlock.
class UnetBlock : public torch::nn::Module {
 public:
  UnetBlock(std::int64_t in, std::int64_t out, const Axes& kernel, const Axes& stride, const UnetStyle& style);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return forward(std::vector<at::Tensor>{x}, rows); }
  // The channels of several maps side by side.
  at::Tensor forward(const std::vector<at::Tensor>& parts, const Rows& rows) const;

 private:
  bool residual_;
  std::shared_ptr<NamedConv> conv1_, conv2_, conv3_;  // conv3_: on the shortcut, where it changes the shape
  std::shared_ptr<UnetNorm> norm1_, norm2_, norm3_;
};

// The gate of one channel by which a skip connection is multiplied: additive attention between it and what comes from below.
class AttentionGate : public torch::nn::Module {
 public:
  AttentionGate(std::int64_t channels, std::int64_t rank, const UnetStyle& style);
  // below, skip [B, C, spatial…] of one size.
  at::Tensor forward(const at::Tensor& below, const at::Tensor& skip, const Rows& rows) const;

 private:
  struct Part {
    std::shared_ptr<NamedConv> conv;
    std::shared_ptr<UnetNorm> norm;
  };
  Part part(const char* name, std::int64_t in, std::int64_t out, std::int64_t rank, const UnetStyle& style);
  static at::Tensor through(const Part& part, const at::Tensor& x, const Rows& rows) { return part.norm->forward(part.conv->forward(x, rows), rows); }

  Part below_, skip_, gate_;
};

// A transposed convolution, joined with the skip connection, and a block. MONAI's UnetUpBlock, and UnetrUpBlock.
class UnetUpBlock : public torch::nn::Module {
 public:
  // `style.residual` is of the block.
  UnetUpBlock(std::int64_t in, std::int64_t out, const Axes& kernel, const Axes& up, const UnetStyle& style);
  // x [B, in, spatial…], skip [B, out, spatial…]. What x grows to is cut at the end to the skip's size.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& skip, const Rows& rows) const;

 private:
  std::shared_ptr<NamedUpConv> transp_conv_;
  std::shared_ptr<AttentionGate> attention_;
  std::shared_ptr<UnetBlock> conv_block_;
};

// x cut at the end of each axis to `size`. ValueError where it is smaller.
at::Tensor cut_to(const at::Tensor& x, at::IntArrayRef size);

// Convolutions by He's normal law for the fan in of leaky ReLUs, as MONAI's DynUNet has it, in the order of the parameters; biases zero.
void initialise_unet(torch::nn::Module& module, std::uint64_t seed);

}  // namespace sslmed::nn
