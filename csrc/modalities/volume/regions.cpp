#include "modalities/volume/regions.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace sslmed::volume {

at::Tensor volume_regions(const at::Tensor& coords) {
  constexpr double kThird = 28;  // mm from the middle: a third of a brain's length is in front, a third behind
  const auto x = coords.select(1, 0), y = coords.select(1, 1), z = coords.select(1, 2);
  return x.ge(0).to(at::kLong) + 2 * (y.ge(-kThird).to(at::kLong) + y.ge(kThird).to(at::kLong)) + 6 * z.ge(0).to(at::kLong);
}

}  // namespace sslmed::volume
