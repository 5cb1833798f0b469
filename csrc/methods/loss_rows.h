#pragma once
// What the losses share: precision, checks of shapes, and rows of all ranks.

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>

#include "nn/comm.h"

namespace sslmed::methods {

// No autocast for the life of the object: what it would round is what a loss depends on.
class FullPrecision {
 public:
  FullPrecision() : guard_(c10::autocast_dispatch_keyset) {}

 private:
  c10::impl::ExcludeDispatchKeyGuard guard_;
};

// Half precision as float.
inline at::Tensor at_least_float(const at::Tensor& x) { return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x; }

inline void check_floating(const char* where, const char* name, const at::Tensor& x) {
  TORCH_CHECK_TYPE(x.is_floating_point(), where, ": ", name, " must be floating point, got ", x.scalar_type());
}

// x [B, D] with at least one row, or none on one of several ranks.
inline void check_rows(const char* where, const char* name, const at::Tensor& x, const nn::Comm& comm) {
  check_floating(where, name, x);
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(1) > 0 && (x.size(0) > 0 || comm.size() > 1), where, ": ", name, " must be [B, D] with at least one row, got ",
                    x.sizes());
}

inline void check_pair(const char* where, const char* name_a, const at::Tensor& a, const char* name_b, const at::Tensor& b, const nn::Comm& comm) {
  check_rows(where, name_a, a, comm);
  check_floating(where, name_b, b);
  TORCH_CHECK_VALUE(b.sizes() == a.sizes(), where, ": ", name_b, " must have the shape of ", name_a, ", ", a.sizes(), ", got ", b.sizes());
}

inline void check_positive(const char* where, const char* name, double value) {
  TORCH_CHECK_VALUE(value > 0 && std::isfinite(value), where, ": ", name, "=", value, " must be positive", value > 0 ? " and finite" : "");
}

// Where this rank's rows are among those of all ranks.
struct Share {
  std::int64_t first = 0, total = 0;
};

inline Share share_of(std::int64_t rows, const at::Tensor& like, const nn::Comm& comm) {
  if (comm.size() == 1) return {0, rows};
  const auto counts = comm.all_gather(at::full({1}, rows, like.options().dtype(at::kLong).requires_grad(false))).cpu();
  Share share;
  for (int r = 0; r < comm.size(); ++r) {
    if (r == comm.rank()) share.first = share.total;
    share.total += counts[r].item<std::int64_t>();
  }
  return share;
}

// The mean over this rank's rows; zero, with the gradients' way back, where it has none.
inline at::Tensor own_mean(const at::Tensor& rows) { return rows.sum() / static_cast<double>(std::max<std::int64_t>(rows.numel(), 1)); }

inline at::Tensor unit_rows(const at::Tensor& x, double eps = 1e-12) {
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(eps);
}

}  // namespace sslmed::methods
