#include "tasks/detect_losses.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

namespace sslmed::tasks {

at::Tensor heat_focal(const at::Tensor& logits, const at::Tensor& heat, double alpha, double beta) {
  TORCH_CHECK_VALUE(logits.dim() >= 3 && logits.sizes() == heat.sizes(), "heat_focal: logits and heat must be [B, C, cells…] of one shape, got ",
                    logits.sizes(), " and ", heat.sizes());
  const auto p = logits.sigmoid(), own = at::log_sigmoid(logits), other = at::log_sigmoid(-logits);
  const auto positive = own * (1 - p).pow(alpha), negative = other * p.pow(alpha) * (1 - heat).pow(beta);
  return -at::where(heat.eq(1), positive, negative).flatten(1).sum(1);
}

StarLosses star_losses(const at::Tensor& object, const at::Tensor& distances, const at::Tensor& classes, const at::Tensor& true_probability,
                       const at::Tensor& true_distances, const at::Tensor& true_classes, double background) {
  constexpr double kLeast = 1e-7;  // as Keras's epsilon
  TORCH_CHECK_VALUE(object.sizes() == true_probability.sizes() && object.sizes() == true_classes.sizes() && distances.sizes() == true_distances.sizes(),
                    "star_losses: predictions ", object.sizes(), " and ", distances.sizes(), " must have the shapes of their targets, got ",
                    true_probability.sizes(), ", ", true_distances.sizes(), " and classes ", true_classes.sizes());
  const auto known = true_classes.ge(0).to(object.scalar_type()).flatten(1);  // [B, N]
  const auto counted = known.sum(1).clamp_min(1);
  const auto mean = [&](const at::Tensor& x) { return (x.flatten(1) * known).sum(1) / counted; };
  StarLosses out;
  out.probability = mean(-(true_probability * at::log_sigmoid(object) + (1 - true_probability) * at::log_sigmoid(-object)));
  const auto errors = (distances - true_distances).abs().mean(1), sizes = distances.abs().mean(1);  // [B, cells…]
  out.distances = mean(true_probability * errors) / (mean(true_probability) + kLeast) + background * mean((1 - true_probability) * sizes);
  if (classes.defined()) {
    const auto own = true_classes.clamp_min(0).unsqueeze(1);
    TORCH_CHECK_VALUE(own.max().item<std::int64_t>() < classes.size(1), "star_losses: the target holds class ", own.max().item<std::int64_t>() - 1,
                      ", expected one of ", classes.size(1) - 1, " classes from 0 on");
    out.classes = mean(-at::log_softmax(classes, 1).gather(1, own).squeeze(1));
  }
  return out;
}

}  // namespace sslmed::tasks
