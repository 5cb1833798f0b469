#pragma once
// Blocks of U-Nets in prediction on the CPU: pairs of convolutions whose norms and leaky ReLUs cost no pass of their own
// (ops/cpu/direct_conv.h), and transposed convolutions as matrix products. Results are those of the ordinary layers but
// for rounding.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sslmed::nn {

// A convolution without bias and the norm behind it.
struct FusedConv {
  at::Tensor weight;        // [out, in, kernel…]
  at::Tensor scale, shift;  // [out], of the norm
  std::int64_t groups;      // of the norm
};

// Whether these maps, side by side as the channels of one input, are convolved faster here: without gradients, of floats
// on a processor with AVX-512, two or three axes, kernels of 1 or 3 cells, few channels, and rows that fill registers.
bool convolves_directly(const std::vector<at::Tensor>& parts, const at::Tensor& weight, const std::vector<std::int64_t>& stride);

// Two convolutions, each with its norm and a leaky ReLU, at stride 1. `parts` [B, C_i, spatial…] are what the first one
// takes.
at::Tensor fused_block(const std::vector<at::Tensor>& parts, const FusedConv& first, const FusedConv& second, double slope);
// The same where the first convolution has been done: `maps` are what it gave, before its norm.
at::Tensor fused_block_of(const at::Tensor& maps, const FusedConv& first, const FusedConv& second, double slope);

// Whether a transposed convolution is one of those below: without gradients, of floats on the CPU.
bool upsamples_directly(const at::Tensor& x, const at::Tensor& weight, const std::vector<std::int64_t>& stride);
// A transposed convolution without bias whose kernel is its stride: each cell of x [B, in, spatial…] becomes a block of
// cells; weight [in, out, stride…].
at::Tensor fused_upsample(const at::Tensor& x, const at::Tensor& weight, const std::vector<std::int64_t>& stride);

}  // namespace sslmed::nn
