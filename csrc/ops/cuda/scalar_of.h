#pragma once
// Torch-aware: a tensor's type as launchers take it.

#include <ATen/core/Tensor.h>

#include "ops/cuda/scalar.h"

namespace sslmed::ops {

inline cuda::Scalar scalar_of(const char* where, const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return cuda::Scalar::kFloat;
    case at::kDouble:
      return cuda::Scalar::kDouble;
    case at::kHalf:
      return cuda::Scalar::kHalf;
    case at::kBFloat16:
      return cuda::Scalar::kBFloat16;
    default:
      TORCH_CHECK_TYPE(false, where, ": unsupported dtype ", tensor.scalar_type());
  }
}

}  // namespace sslmed::ops
