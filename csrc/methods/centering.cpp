#include "methods/centering.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace sslmed::methods {

void move_center(at::Tensor& center, const at::Tensor& logits, double momentum, const nn::Comm& comm) {
  const c10::NoGradGuard guard;
  const auto rows = logits.to(center.scalar_type());
  const auto count = at::full({1, 1}, static_cast<double>(logits.size(0)), rows.options());
  const auto all = comm.all_gather(at::cat({rows.sum(0, /*keepdim=*/true), count}, 1)).sum(0);
  const auto total = all[-1];
  const auto mean = all.narrow(0, 0, center.size(0)) / total.clamp_min(1);
  center.add_((mean - center) * (total.gt(0).to(center.scalar_type()) * (1 - momentum)));
}

double warm_temperature(double start, double end, double share, const Step& step) {
  const double steps = share * static_cast<double>(step.total);
  const double progress = steps > 0 ? std::min(1.0, static_cast<double>(step.number) / steps) : 1;
  return start + progress * (end - start);
}

}  // namespace sslmed::methods
