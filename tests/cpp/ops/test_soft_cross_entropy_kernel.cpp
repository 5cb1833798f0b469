// The CUDA kernels of soft_cross_entropy, on threads of the CPU, against the CPU's.

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>

#include "catch.h"
#include "ops/cuda/soft_cross_entropy_kernel.cu"
#include "ops/soft_cross_entropy.h"

using namespace sslmed;
using namespace sslmed::ops;

TEST_CASE("the kernels' cross-entropies and gradients are the CPU's") {
  const auto type = GENERATE(at::kDouble, at::kFloat, at::kHalf, at::kBFloat16);
  const auto n = GENERATE(3, 300);
  at::manual_seed(static_cast<std::uint64_t>(n));
  const auto code = type == at::kDouble  ? cuda::Scalar::kDouble
                    : type == at::kFloat ? cuda::Scalar::kFloat
                    : type == at::kHalf  ? cuda::Scalar::kHalf
                                         : cuda::Scalar::kBFloat16;
  const auto exact = at::TensorOptions().dtype(at::toOpMathType(type));
  const auto x = at::randn({3, 2, n}).to(type), targets = at::rand({2, 2, n}, exact), grad = at::rand({3, 2}, exact);
  const auto pairs = at::tensor({0.0, 1.0, 0.5, 0.0, 1.0, 2.0}, at::kDouble).view({3, 2}).to(exact);
  const auto [losses, lse, mass] = soft_cross_entropy(x, targets, pairs, 0.5);
  auto own_losses = at::full_like(losses, 7), own_lse = at::full_like(lse, 7), own_mass = at::full_like(mass, 7);
  const cuda::CrossEntropyJob job{x.const_data_ptr(), targets.const_data_ptr(), pairs.const_data_ptr(), 3, 2, 2, n, 2};
  REQUIRE(cuda::soft_cross_entropy_rows(code, job, own_losses.data_ptr(), own_lse.data_ptr(), own_mass.data_ptr(), nullptr) == cudaSuccess);
  const double tolerance = type == at::kDouble ? 1e-12 : 1e-5;
  CHECK(at::allclose(own_losses, losses, tolerance, tolerance));
  CHECK(at::allclose(own_lse, lse, tolerance, tolerance));
  CHECK(at::allclose(own_mass, mass, tolerance, tolerance));
  const auto gradient = soft_cross_entropy_backward(grad, x, targets, pairs, lse, mass, 0.5);
  auto own = at::full_like(x, 7);
  REQUIRE(cuda::soft_cross_entropy_rows_backward(code, job, grad.const_data_ptr(), lse.const_data_ptr(), mass.const_data_ptr(), own.data_ptr(), nullptr) ==
          cudaSuccess);
  const double rounded = type == at::kHalf || type == at::kBFloat16 ? 1e-2 : tolerance;
  CHECK(at::allclose(own.to(at::kDouble), gradient.to(at::kDouble), rounded, rounded));
}
