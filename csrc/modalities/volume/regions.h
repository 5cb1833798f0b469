#pragma once
// Regions of a volume, for features that keep where something lies.

#include <ATen/core/Tensor.h>

namespace sslmed::volume {

constexpr std::int64_t kRegions = 12;

// coords [n, 4] in mm from the middle of the volume → [n] int64: left or right, three thirds from back to front, low or high.
at::Tensor volume_regions(const at::Tensor& coords);

}  // namespace sslmed::volume
