#include "methods/survival.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include "methods/loss_rows.h"

namespace sslmed::methods {

at::Tensor cox(const at::Tensor& risk, const at::Tensor& time, const at::Tensor& event, Ties ties) {
  const FullPrecision guard;
  check_floating("cox", "risk", risk);
  TORCH_CHECK_VALUE(risk.dim() == 1 && risk.size(0) > 0, "cox: risk must be [B] with at least one row, got ", risk.sizes());
  TORCH_CHECK_VALUE(time.sizes() == risk.sizes(), "cox: time must have the shape of risk, ", risk.sizes(), ", got ", time.sizes());
  TORCH_CHECK_VALUE(event.sizes() == risk.sizes(), "cox: event must have the shape of risk, ", risk.sizes(), ", got ", event.sizes());
  const auto when = time.detach().to(at::kCPU, at::kDouble);
  const auto seen = event.detach().to(at::kCPU, at::kDouble);
  TORCH_CHECK_VALUE(when.isfinite().all().item<bool>(), "cox: time must be finite");
  TORCH_CHECK_VALUE(seen.eq(0).logical_or(seen.eq(1)).all().item<bool>(), "cox: event must be 0 (censored) or 1 (seen)");
  const auto events = seen.sum().item<double>();
  const auto wide = at_least_float(risk);
  if (events == 0) return wide.sum() * 0;
  // From the latest time on: everybody before a row, and its own tie, is at risk.
  const auto order = when.argsort(/*stable=*/true, 0, /*descending=*/true);
  const auto sorted = when.index_select(0, order);
  const auto own = wide.index_select(0, order.to(risk.device()));
  const auto tie = at::cat({at::zeros({1}, at::kLong), sorted.diff().ne(0).to(at::kLong).cumsum(0)});  // [B] number of its time
  const auto last = at::bincount(tie).cumsum(0) - 1;                                                   // of each tie, its last row
  const auto mark = seen.index_select(0, order);
  const auto index = mark.nonzero().squeeze(1);  // events, by time
  const auto tie_of_event = tie.index_select(0, index);
  const auto here = index.to(risk.device());
  const auto at_risk = at::logcumsumexp(own, 0).index_select(0, last.to(risk.device()));  // [ties]
  auto log_sum = at_risk.index_select(0, tie_of_event.to(risk.device()));                 // [events]
  const auto score = own.index_select(0, here);
  if (ties == Ties::kEfron) {
    const auto count = at::bincount(tie_of_event, {}, last.size(0));
    const auto first = count.cumsum(0) - count;
    const auto place = at::arange(index.size(0), at::kLong) - first.index_select(0, tie_of_event);
    const auto part = (place.to(at::kDouble) / count.index_select(0, tie_of_event).to(at::kDouble)).to(own.options().requires_grad(false));
    const auto group = tie_of_event.to(risk.device());
    const auto share = at::zeros(at_risk.sizes(), own.options().requires_grad(false)).index_add(0, group, at::exp(score - log_sum));
    log_sum = log_sum + at::log1p(-part * share.index_select(0, group));
  }
  return (log_sum - score).sum() / events;
}

}  // namespace sslmed::methods
