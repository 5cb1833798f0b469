// The CUDA kernels of masked_mse, on threads of the CPU, against the CPU's.

#include <ATen/Functions.h>

#include "catch.h"
#include "ops/cuda/masked_mse_kernel.cu"
#include "ops/masked_mse.h"

using namespace sslmed;
using namespace sslmed::ops;

namespace {

cuda::Scalar scalar_of(at::ScalarType type) {
  return type == at::kDouble  ? cuda::Scalar::kDouble
         : type == at::kFloat ? cuda::Scalar::kFloat
         : type == at::kHalf  ? cuda::Scalar::kHalf
                              : cuda::Scalar::kBFloat16;
}

double apart(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / (b.to(at::kDouble).norm() + 1e-12)).item<double>();
}

}  // namespace

TEST_CASE("the kernels' loss and gradients are the CPU's") {
  const auto type = GENERATE(at::kDouble, at::kFloat, at::kHalf, at::kBFloat16);
  const auto n = GENERATE(2, 100, 300);
  const auto norm = GENERATE(true, false);
  at::manual_seed(static_cast<std::uint64_t>(n));
  const auto options = at::TensorOptions().dtype(type);
  const auto pred = at::randn({2, 3, n}).to(options), target = (2 * at::randn({2, 3, n}) + 1).to(options);
  auto weights = at::tensor({1.F, 0.F, 0.5F, 1.F, 1.F, 0.F}, at::kFloat).view({2, 3});
  const auto loss = masked_mse(pred, target, weights, norm);
  const auto count = weights.sum(at::kDouble);
  auto sums = at::full({6}, -1, at::kDouble);
  REQUIRE(cuda::masked_mse_rows(scalar_of(type), pred.const_data_ptr(), target.const_data_ptr(), weights.const_data_ptr<float>(), sums.data_ptr<double>(), 6, n,
                                norm, nullptr) == cudaSuccess);
  const double tolerance = type == at::kDouble ? 1e-12 : type == at::kFloat ? 1e-5 : 1e-2;
  CHECK(apart(sums.sum() / count, loss) <= tolerance);
  const auto [grad_pred, grad_target] = masked_mse_backward(at::scalar_tensor(1.5, at::kFloat), pred, target, weights, norm, true);
  auto own_pred = at::full_like(pred, 7), own_target = at::full_like(target, 7);
  const auto scale = 1.5 / count;
  REQUIRE(cuda::masked_mse_rows_backward(scalar_of(type), pred.const_data_ptr(), target.const_data_ptr(), weights.const_data_ptr<float>(),
                                         scale.const_data_ptr<double>(), own_pred.data_ptr(), own_target.data_ptr(), 6, n, norm, nullptr) == cudaSuccess);
  CHECK(apart(own_pred, grad_pred) <= tolerance);
  auto alone = at::full_like(pred, 7);
  REQUIRE(cuda::masked_mse_rows_backward(scalar_of(type), pred.const_data_ptr(), target.const_data_ptr(), weights.const_data_ptr<float>(),
                                         scale.const_data_ptr<double>(), alone.data_ptr(), nullptr, 6, n, norm, nullptr) == cudaSuccess);
  CHECK(at::equal(alone, own_pred));
  CHECK((own_target.to(at::kDouble) - grad_target.to(at::kDouble)).abs().max().item<double>() <=
        tolerance * grad_target.to(at::kDouble).abs().max().item<double>() + (type == at::kDouble ? 1e-14 : 1e-6));
}

TEST_CASE("without weights the kernels count every row alike") {
  const auto n = GENERATE(2, 300);
  const auto pred = at::randn({2, 3, n}), target = 2 * at::randn({2, 3, n}) + 1, ones = at::ones({6});
  const auto scale = at::full({1}, 0.25, at::kDouble);
  std::vector<at::Tensor> sums, grads;
  for (const float* weights : {ones.const_data_ptr<float>(), static_cast<const float*>(nullptr)}) {
    sums.push_back(at::full({6}, -1, at::kDouble));
    grads.push_back(at::full_like(pred, 7));
    REQUIRE(cuda::masked_mse_rows(cuda::Scalar::kFloat, pred.const_data_ptr(), target.const_data_ptr(), weights, sums.back().data_ptr<double>(), 6, n, true,
                                  nullptr) == cudaSuccess);
    REQUIRE(cuda::masked_mse_rows_backward(cuda::Scalar::kFloat, pred.const_data_ptr(), target.const_data_ptr(), weights, scale.const_data_ptr<double>(),
                                           grads.back().data_ptr(), nullptr, 6, n, true, nullptr) == cudaSuccess);
  }
  CHECK(at::equal(sums[0], sums[1]));
  CHECK(at::equal(grads[0], grads[1]));
}
