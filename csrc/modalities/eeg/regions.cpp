#include "modalities/eeg/regions.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace sslmed::eeg {

at::Tensor head_regions(const at::Tensor& coords) {
  constexpr double kMiddle = 5;  // mm from the midline
  const auto x = coords.select(1, 0), y = coords.select(1, 1);
  const auto region = x.gt(kMiddle).to(at::kLong) + x.ge(-kMiddle).to(at::kLong) + 3 * y.lt(0).to(at::kLong);
  return at::where(x.isfinite(), region, at::full_like(region, -1));
}

}  // namespace sslmed::eeg
