#pragma once
// The types of tensors that kernels take by raw pointers.

namespace sslmed::ops::cuda {

enum class Scalar { kFloat, kDouble, kHalf, kBFloat16 };

}  // namespace sslmed::ops::cuda
