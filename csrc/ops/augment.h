#pragma once
// Pictures as their plans say: crops, flips, turns, colours, stains, blur. On the device where the pictures lie.

#include <ATen/core/Tensor.h>

namespace sslmed::ops {

// pictures uint8 [bytes], one after the other, each [height, width, 3]; sources int64 [B, 3]: first byte, width and height of each result's picture;
// plans uint8 [B, sizeof(transforms::AugmentPlan)]; both on the CPU. Returns uint8 [rows, 3·patch²]: the results' squares of `patch` pixels, row by row,
// one result after the other. Results on CUDA are the CPU's to the bit but for the rounding of changes of density and hue (±1).
// ValueError where a plan reaches beyond its picture, or its size is no multiple of the patch.
at::Tensor augment(const at::Tensor& pictures, const at::Tensor& sources, const at::Tensor& plans, std::int64_t patch);

// The rows of the result; for the kernels, so that whoever comes through the dispatcher is checked too.
std::int64_t check_augment(const at::Tensor& pictures, const at::Tensor& sources, const at::Tensor& plans, std::int64_t patch);

}  // namespace sslmed::ops
