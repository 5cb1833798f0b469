#include "nn/batch_norm.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "nn/functional.h"

namespace sslmed::nn {
namespace {

std::int64_t checked(std::int64_t channels) {
  TORCH_CHECK_VALUE(channels > 0, "channels=", channels, " must be at least 1");
  return channels;
}

}  // namespace

BatchNorm::BatchNorm(std::int64_t channels, double eps, double momentum)
    : weight(register_parameter("weight", at::ones({checked(channels)}))),
      bias(register_parameter("bias", at::zeros({channels}))),
      running_mean(register_buffer("running_mean", at::zeros({channels}))),
      running_var(register_buffer("running_var", at::ones({channels}))),
      num_batches_tracked(register_buffer("num_batches_tracked", at::zeros({}, at::kLong))),
      eps_(eps),
      momentum_(momentum) {}

at::Tensor BatchNorm::forward(const at::Tensor& x, const at::Tensor& visible, const Comm& comm) {
  if (!visible.defined()) return forward(x, comm);
  const auto cells = visible.flatten().nonzero().squeeze(1);
  const auto rows = x.movedim(1, -1);  // [B, spatial…, C]
  const auto normed = forward(rows.reshape({-1, x.size(1)}).index_select(0, cells), comm);
  const auto out = at::zeros({visible.numel(), x.size(1)}, normed.options()).index_copy(0, cells, normed);
  return out.view(rows.sizes()).movedim(-1, 1);
}

at::Tensor BatchNorm::forward(const at::Tensor& x, const Comm& comm) {
  TORCH_CHECK_VALUE(x.dim() >= 2 && x.size(1) == weight.size(0), "expected [B, ", weight.size(0), ", …], got ", x.sizes());
  if (!is_training()) return batch_norm(x, weight, bias, running_mean, running_var, /*training=*/false, momentum_, eps_);
  if (comm.size() == 1) {
    const auto each = x.numel() / x.size(1);
    TORCH_CHECK_VALUE(each > 1, "batch normalisation needs at least two values a channel in training, got ", each);
    num_batches_tracked += 1;
    return batch_norm(x, weight, bias, running_mean, running_var, /*training=*/true, momentum_, eps_);
  }
  // Moments of each rank, put together with their counts: a rank without samples counts nothing.
  const std::int64_t channels = x.size(1);
  const auto rows = x.transpose(0, 1).reshape({channels, -1}).to(weight.scalar_type());  // [C, n]
  const auto n = static_cast<double>(rows.size(1));
  const auto mean = n > 0 ? rows.mean(1) : rows.sum(1), squares = (rows - mean.unsqueeze(1)).square().sum(1);
  const auto all = comm.all_gather(at::stack({mean, squares, at::full_like(mean, n).detach()}).unsqueeze(0));  // [ranks, 3, C]
  const auto counts = all.select(1, 2);
  const auto total = counts.sum(0);
  const double values = total[0].item<double>();
  TORCH_CHECK_VALUE(values > 1, "batch normalisation needs at least two values a channel in training, got ", values);
  const auto center = (all.select(1, 0) * counts).sum(0) / total;
  const auto spread = (all.select(1, 1) + counts * (all.select(1, 0) - center).square()).sum(0);
  {
    const c10::NoGradGuard guard;
    running_mean.lerp_(center, momentum_);
    running_var.lerp_(spread / (values - 1), momentum_);
    num_batches_tracked += 1;
  }
  return batch_norm(x, weight, bias, center, spread / values, eps_);
}

}  // namespace sslmed::nn
