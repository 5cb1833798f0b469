// Losses of how rows spread: on the sphere, and over their dimensions.

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "methods/loss_rows.h"
#include "methods/losses.h"

namespace sslmed::methods {
namespace {

constexpr double kKoleoEps = 1e-8;     // of the normalization, the distance and the logarithm
constexpr double kVarianceEps = 1e-4;  // VICReg's
constexpr double kBatchNormEps = 1e-5;
constexpr std::int64_t kRowsAtOnce = 1024;

// The nearest of all rows [T, D] to each of the own ones [B, D], which are those from `first` on. A row that is alone
// is its own neighbor.
at::Tensor nearest_of(const at::Tensor& own, const at::Tensor& all, std::int64_t first) {
  const c10::NoGradGuard guard;
  std::vector<at::Tensor> nearest;
  for (std::int64_t start = 0; start < own.size(0); start += kRowsAtOnce) {
    const auto rows = own.narrow(0, start, std::min(kRowsAtOnce, own.size(0) - start));
    auto cosines = at::mm(rows, all.t());
    cosines.narrow(1, first + start, rows.size(0)).fill_diagonal_(-1);
    nearest.push_back(cosines.argmax(1));
  }
  return nearest.empty() ? at::empty({0}, all.options().dtype(at::kLong)) : at::cat(nearest);
}

// Mean over dimensions of what the standard deviation is short of one.
at::Tensor short_of_one(const at::Tensor& x) { return at::relu(1 - at::sqrt(x.var(0, /*unbiased=*/true) + kVarianceEps)).mean(); }

at::Tensor covariance(const at::Tensor& x) {
  const auto centered = x - x.mean(0);
  const auto cov = at::mm(centered.t(), centered) / static_cast<double>(x.size(0) - 1);
  return (cov - at::diag(cov.diagonal())).square().sum() / static_cast<double>(x.size(1));
}

at::Tensor standardized(const at::Tensor& x) { return (x - x.mean(0)) * at::rsqrt(x.var(0, /*unbiased=*/false) + kBatchNormEps); }

void check_two(const char* where, const char* name, const at::Tensor& all) {
  TORCH_CHECK_VALUE(all.size(0) >= 2, where, ": ", name, " must have at least 2 rows, got ", all.size(0));
}

}  // namespace

at::Tensor koleo(const at::Tensor& x, const nn::Comm& comm) {
  const FullPrecision guard;
  check_rows("koleo", "x", x, comm);
  const auto own = unit_rows(at_least_float(x), kKoleoEps), all = comm.all_gather(own);
  const auto nearest = nearest_of(own, all, share_of(x.size(0), own, comm).first);
  const auto distance = at::pairwise_distance(own, all.index_select(0, nearest), 2, kKoleoEps);
  return own_mean(-at::log(distance + kKoleoEps));
}

at::Tensor uniformity(const at::Tensor& x, double kappa, const nn::Comm& comm) {
  const FullPrecision guard;
  check_rows("uniformity", "x", x, comm);
  check_positive("uniformity", "kappa", kappa);
  const auto own = unit_rows(at_least_float(x)), all = comm.all_gather(own);
  check_two("uniformity", "x", all);
  const auto first = share_of(x.size(0), own, comm).first;
  const auto self = at::arange(first, first + x.size(0), own.options().dtype(at::kLong).requires_grad(false)).unsqueeze(1);
  const auto logits = (kappa * at::mm(own, all.t())).scatter(1, self, -std::numeric_limits<double>::infinity());
  return own_mean(at::logsumexp(logits, {1}) - std::log(static_cast<double>(all.size(0) - 1)));
}

at::Tensor vicreg(const at::Tensor& a, const at::Tensor& b, const VicregWeights& weights, const nn::Comm& comm) {
  const FullPrecision guard;
  check_pair("vicreg", "a", a, "b", b, comm);
  const auto za = comm.all_gather(at_least_float(a)), zb = comm.all_gather(at_least_float(b));
  check_two("vicreg", "a", za);
  const auto invariance = (za - zb).square().mean();
  const auto variance = 0.5 * (short_of_one(za) + short_of_one(zb));  // halved in the paper's code, not in its text
  return weights.invariance * invariance + weights.variance * variance + weights.covariance * (covariance(za) + covariance(zb));
}

at::Tensor barlow_twins(const at::Tensor& a, const at::Tensor& b, double off_diagonal, const nn::Comm& comm) {
  const FullPrecision guard;
  check_pair("barlow_twins", "a", a, "b", b, comm);
  const auto za = comm.all_gather(at_least_float(a)), zb = comm.all_gather(at_least_float(b));
  check_two("barlow_twins", "a", za);
  const auto correlation = at::mm(standardized(za).t(), standardized(zb)) / static_cast<double>(za.size(0));
  return (correlation.diagonal() - 1).square().sum() + off_diagonal * (correlation - at::diag(correlation.diagonal())).square().sum();
}

}  // namespace sslmed::methods
