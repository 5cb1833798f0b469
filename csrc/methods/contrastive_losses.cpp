#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

#include "methods/loss_rows.h"
#include "methods/losses.h"
#include "ops/info_nce.h"

namespace sslmed::methods {
namespace {

// The rows of two views, [2B, D], those of all ranks, [2T, D], and which of them is a row itself and which its other
// view, [2B].
struct TwoViews {
  at::Tensor own, all, self, other;
  Share share;
};

TwoViews two_views(const at::Tensor& a, const at::Tensor& b, const nn::Comm& comm) {
  const auto za = unit_rows(at_least_float(a)), zb = unit_rows(at_least_float(b));
  TwoViews views;
  views.own = at::cat({za, zb});
  views.share = share_of(a.size(0), za, comm);
  views.all = comm.size() == 1 ? views.own : at::cat({comm.all_gather(za), comm.all_gather(zb)});
  const auto index = at::arange(views.share.first, views.share.first + a.size(0), za.options().dtype(at::kLong).requires_grad(false));
  views.self = at::cat({index, index + views.share.total});
  views.other = at::cat({index + views.share.total, index});
  return views;
}

// Logits [2B, 2T] with a row's own column at -infinity.
at::Tensor logits_of(const TwoViews& views, double temperature) {
  return (at::mm(views.own, views.all.t()) / temperature).scatter(1, views.self.unsqueeze(1), -std::numeric_limits<double>::infinity());
}

// exp(-|y_i - y_j|^2 / (2 sigma^2)) of the rows against those of all ranks, [2B, 2T]; 0 for a row itself, and between
// samples of which one has no y (NaN); 1 for a row's other view in any case.
at::Tensor kernel_of(const TwoViews& views, const at::Tensor& metadata, double sigma, const nn::Comm& comm) {
  // Dates in seconds differ by less than float tells apart.
  const auto y = (metadata.dim() == 1 ? metadata.unsqueeze(1) : metadata).detach().to(at::kDouble);
  const auto distance = (y.unsqueeze(1) - comm.all_gather(y).unsqueeze(0)).square().sum(-1);
  const auto weights = (distance * (-0.5 / (sigma * sigma))).exp().nan_to_num(0.0).to(views.own.scalar_type()).repeat({2, 2});
  return weights.scatter(1, views.self.unsqueeze(1), 0.0).scatter(1, views.other.unsqueeze(1), 1.0);
}

void check_kernel(const char* where, const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature,
                  const nn::Comm& comm) {
  check_pair(where, "a", a, "b", b, comm);
  TORCH_CHECK_VALUE((metadata.dim() == 1 || metadata.dim() == 2) && metadata.size(0) == a.size(0) && (metadata.dim() == 1 || metadata.size(1) > 0), where,
                    ": metadata must be [B] or [B, m] with B=", a.size(0), ", got ", metadata.sizes());
  check_positive(where, "sigma", sigma);
  check_positive(where, "temperature", temperature);
}

}  // namespace

at::Tensor nt_xent(const at::Tensor& a, const at::Tensor& b, double temperature, const nn::Comm& comm) {
  const FullPrecision guard;
  check_pair("nt_xent", "a", a, "b", b, comm);
  check_positive("nt_xent", "temperature", temperature);
  const auto views = two_views(a, b, comm);
  const bool alone = comm.size() == 1;
  const auto keys = alone ? std::nullopt : std::optional(views.all), self = alone ? std::nullopt : std::optional(views.self);
  return own_mean(std::get<0>(ops::info_nce(views.own, keys, views.other, self, temperature)));
}

at::Tensor info_nce(const at::Tensor& q, const at::Tensor& k, double temperature, const nn::Comm& comm) {
  const FullPrecision guard;
  check_pair("info_nce", "q", q, "k", k, comm);
  check_positive("info_nce", "temperature", temperature);
  const auto queries = unit_rows(at_least_float(q)), keys = comm.all_gather(unit_rows(at_least_float(k)));
  const auto share = share_of(q.size(0), queries, comm);
  const auto right = at::arange(share.first, share.first + q.size(0), queries.options().dtype(at::kLong).requires_grad(false));
  return own_mean(std::get<0>(ops::info_nce(queries, keys, right, std::nullopt, temperature))) * (2 * temperature);
}

at::Tensor y_aware(const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature, const nn::Comm& comm) {
  const FullPrecision guard;
  check_kernel("y_aware", a, b, metadata, sigma, temperature, comm);
  const auto views = two_views(a, b, comm);
  const auto weights = kernel_of(views, metadata, sigma, comm);
  const auto logits = logits_of(views, temperature);
  // A weight of zero times a logit of -infinity would be no number.
  const auto right = at::where(weights.gt(0), logits, 0.0) * (weights / weights.sum(1, true));
  return own_mean(at::logsumexp(logits, {1}) - right.sum(1));
}

at::Tensor l_exp(const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature, const nn::Comm& comm) {
  const FullPrecision guard;
  check_kernel("l_exp", a, b, metadata, sigma, temperature, comm);
  const auto views = two_views(a, b, comm);
  const auto weights = kernel_of(views, metadata, sigma, comm);
  const auto similarity = at::mm(views.own, views.all.t()) / temperature;
  // As the paper has it: to subtract a row's largest similarity before it is weighed, as public code does, changes the
  // loss.
  const auto repelled = (similarity * (1 - weights)).scatter(1, views.self.unsqueeze(1), -std::numeric_limits<double>::infinity());
  return own_mean(at::logsumexp(repelled, {1}) - (similarity * weights).sum(1) / weights.sum(1));
}

at::Tensor byol(const at::Tensor& p, const at::Tensor& z) {
  const FullPrecision guard;
  check_pair("byol", "p", p, "z", z, nn::Comm::alone());
  return (2 - 2 * at::cosine_similarity(at_least_float(p), at_least_float(z), 1, 1e-8)).mean();
}

}  // namespace sslmed::methods
