#pragma once
// Spatial changes of volumes on the device where they lie.

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <utility>

#include "transforms/volume_warp.h"

namespace sslmed::ops {

// volumes [N, X, Y, Z] float32, int32 or uint8 along one map, to [N, X', Y', Z']. What lies outside of them is `fill`, by
// default the minimum of each volume of floats, and 0 in label maps. Results on CUDA are the CPU's but for rounding.
// ValueError where shapes do not fit, for linear interpolation of whole numbers, and where a displacement folds space.
at::Tensor warp_volume(const at::Tensor& volumes, transforms::VolumeMap map, transforms::VolumeInterpolation how, std::optional<double> fill);

// volumes [N, X, Y, Z] float32 as if their cells were `factor` times longer along an axis.
at::Tensor lose_resolution(const at::Tensor& volumes, std::int64_t axis, double factor);

// A map as the dispatcher carries it.
struct VolumeMapHolder : torch::CustomClassHolder {
  explicit VolumeMapHolder(transforms::VolumeMap given) : warp(std::move(given)) {}
  transforms::VolumeWarp warp;
};

// For the kernels, so that whoever comes through the dispatcher is checked too.
void check_warp(const at::Tensor& volumes, const transforms::VolumeMap& map, transforms::VolumeInterpolation how);
void check_lose_resolution(const at::Tensor& volumes, std::int64_t axis, double factor);
// What lies outside of each volume, [N] float64 on the CPU.
at::Tensor outside_of(const at::Tensor& volumes, const transforms::VolumeWarp& warp, std::optional<double> fill);

}  // namespace sslmed::ops
