#pragma once
// Six regions of a head: left, middle and right, front and back.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sslmed::eeg {

constexpr std::int64_t kRegions = 6;

// coords [n, 4] x, y, z in mm and t → [n] int64 region; -1 where the place is not known.
at::Tensor head_regions(const at::Tensor& coords);

}  // namespace sslmed::eeg
