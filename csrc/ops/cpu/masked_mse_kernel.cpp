// Rows are independent; each thread writes its rows' sums, and one loop adds them in order, so that the result does not
// depend on the number of threads.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "ops/masked_mse.h"

namespace sslmed::ops {

namespace {

template <class Acc>
struct Moments {
  Acc mean = 0, inverse_std = 1;
};

// term(0) + … + term(n - 1). Side by side, because a sum in one variable is neither a loop of vectors nor as exact.
template <class Acc, class Term>
Acc sum_of(std::int64_t n, Term&& term) {
  constexpr std::int64_t kSums = 16;
  Acc sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (std::int64_t k = 0; k < kSums; ++k) sums[k] += term(i + k);
  for (; i < n; ++i) sums[0] += term(i);
  for (std::int64_t half = kSums / 2; half > 0; half /= 2)
    for (std::int64_t k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

// fp32 for half precision, the tensor's own precision otherwise.
template <class T, class Acc>
Moments<Acc> moments(const T* x, std::int64_t n, bool norm) {
  if (!norm) return {};
  const Acc mean = sum_of<Acc>(n, [&](std::int64_t i) { return static_cast<Acc>(x[i]); }) / static_cast<Acc>(n);
  const Acc squares = sum_of<Acc>(n, [&](std::int64_t i) { return (static_cast<Acc>(x[i]) - mean) * (static_cast<Acc>(x[i]) - mean); });
  return {mean, Acc{1} / std::sqrt(squares / static_cast<Acc>(n - 1) + static_cast<Acc>(kMaskedMseEps))};
}

// Weights of the rows; null: all are one.
struct Weights {
  explicit Weights(const std::optional<at::Tensor>& mask) {
    if (mask) kept = mask->to(at::kFloat).contiguous();
    values = mask ? kept.const_data_ptr<float>() : nullptr;
  }
  float operator[](std::int64_t row) const { return values == nullptr ? 1.0f : values[row]; }
  double sum(std::int64_t rows) const { return values == nullptr ? static_cast<double>(rows) : mask_sum(kept); }
  static double mask_sum(const at::Tensor& weights);

  at::Tensor kept;
  const float* values;
};

double Weights::mask_sum(const at::Tensor& weights) {
  double sum = 0;
  const float* w = weights.const_data_ptr<float>();
  for (std::int64_t i = 0; i < weights.numel(); ++i) sum += static_cast<double>(w[i]);
  return sum;
}

at::Tensor forward(const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask, bool norm) {
  check_masked_mse(pred, target, mask, norm);
  const auto p = pred.contiguous(), t = target.contiguous();
  const Weights weights(mask);
  const std::int64_t rows = p.size(0) * p.size(1), n = p.size(2);
  const double count = weights.sum(rows);
  TORCH_CHECK_VALUE(count > 0, "masked_mse: the mask is empty, so there is nothing to average over");
  std::vector<double> sums(static_cast<std::size_t>(rows), 0.0);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, p.scalar_type(), "masked_mse", [&] {
    using Acc = at::opmath_type<scalar_t>;
    const scalar_t *pp = p.const_data_ptr<scalar_t>(), *tp = t.const_data_ptr<scalar_t>();
    at::parallel_for(0, rows, 64, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        if (weights[r] == 0) continue;  // hidden patches cost nothing, whatever they hold
        const auto m = moments<scalar_t, Acc>(tp + r * n, n, norm);
        const scalar_t *own_p = pp + r * n, *own_t = tp + r * n;
        const Acc sum = sum_of<Acc>(n, [&](std::int64_t i) {
          const Acc d = static_cast<Acc>(own_p[i]) - (static_cast<Acc>(own_t[i]) - m.mean) * m.inverse_std;
          return d * d;
        });
        sums[static_cast<std::size_t>(r)] = static_cast<double>(sum) / static_cast<double>(n) * static_cast<double>(weights[r]);
      }
    });
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return at::scalar_tensor(total / count, p.options().dtype(at::toOpMathType(p.scalar_type())));
}

std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask,
                                            bool norm, bool wants_target) {
  const auto p = pred.contiguous(), t = target.contiguous();
  const Weights weights(mask);
  const std::int64_t rows = p.size(0) * p.size(1), n = p.size(2);
  const double scale = grad.item<double>() / weights.sum(rows) * 2 / static_cast<double>(n);
  auto grad_pred = at::empty_like(p), grad_target = wants_target ? at::empty_like(p) : at::Tensor();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, p.scalar_type(), "masked_mse_backward", [&] {
    using Acc = at::opmath_type<scalar_t>;
    const scalar_t *pp = p.const_data_ptr<scalar_t>(), *tp = t.const_data_ptr<scalar_t>();
    scalar_t *gp = grad_pred.mutable_data_ptr<scalar_t>(), *gt = wants_target ? grad_target.mutable_data_ptr<scalar_t>() : nullptr;
    at::parallel_for(0, rows, 64, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        const scalar_t *own_p = pp + r * n, *own_t = tp + r * n;
        const Acc factor = static_cast<Acc>(scale * static_cast<double>(weights[r]));
        if (factor == 0) {
          std::fill_n(gp + r * n, n, scalar_t(0));
          if (wants_target) std::fill_n(gt + r * n, n, scalar_t(0));
          continue;
        }
        const auto m = moments<scalar_t, Acc>(own_t, n, norm);
        const auto y = [&](std::int64_t i) { return (static_cast<Acc>(own_t[i]) - m.mean) * m.inverse_std; };
        const auto g = [&](std::int64_t i) { return factor * (static_cast<Acc>(own_p[i]) - y(i)); };
        for (std::int64_t i = 0; i < n; ++i) gp[r * n + i] = static_cast<scalar_t>(g(i));
        if (!wants_target) continue;
        // dL/dy = -g, and with y = (t - mean) * s: dL/dt = s * (mean(g) - g) + s * y * sum(g * y) / (n - 1).
        const Acc mean_g = norm ? sum_of<Acc>(n, g) / static_cast<Acc>(n) : Acc{0};
        const Acc slope = norm ? sum_of<Acc>(n, [&](std::int64_t i) { return g(i) * y(i); }) / static_cast<Acc>(n - 1) : Acc{0};
        for (std::int64_t i = 0; i < n; ++i) gt[r * n + i] = static_cast<scalar_t>(m.inverse_std * (mean_g - g(i) + y(i) * slope));
      }
    });
  });
  return {grad_pred, grad_target};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) {
  m.impl("masked_mse", sslmed::ops::forward);
  m.impl("masked_mse_backward", sslmed::ops::backward);
}
