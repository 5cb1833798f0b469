#include "tasks/dice_ce.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace sslmed::tasks {
namespace {

void check_labels(const at::Tensor& logits, const at::Tensor& labels, std::int64_t ignore) {
  TORCH_CHECK_VALUE(logits.dim() >= 3 && logits.dim() <= 5, "dice_ce: logits must be [B, K, 1 to 3 spatial axes], got ", logits.sizes());
  TORCH_CHECK_VALUE(logits.is_floating_point(), "dice_ce: logits must be numbers with a fraction, got ", logits.scalar_type());
  TORCH_CHECK_VALUE(!labels.is_floating_point() && labels.scalar_type() != at::kBool, "dice_ce: labels must be whole numbers, got ", labels.scalar_type());
  auto expected = logits.sizes().vec();
  expected.erase(expected.begin() + 1);
  TORCH_CHECK_VALUE(labels.sizes() == at::IntArrayRef(expected), "dice_ce: labels must be ", at::IntArrayRef(expected), " for logits ", logits.sizes(),
                    ", got ", labels.sizes());
  if (labels.numel() == 0) return;
  const auto classes = logits.size(1);
  const auto wrong = labels.ne(ignore).logical_and(labels.lt(0).logical_or(labels.ge(classes)));
  TORCH_CHECK_VALUE(!wrong.any().item<bool>(), "dice_ce: labels must number ", classes, " classes from 0, or be ignore=", ignore, ", got ",
                    labels.masked_select(wrong)[0].item<std::int64_t>());
}

at::Tensor class_weights(const DiceCeOptions& options, const at::Tensor& like) {
  return options.class_weights.empty() ? at::Tensor() : at::tensor(options.class_weights, like.options().requires_grad(false));
}

}  // namespace

void check(const DiceCeOptions& options, std::int64_t classes) {
  const auto weights = static_cast<std::int64_t>(options.class_weights.size());
  TORCH_CHECK_VALUE(classes >= 2, "dice_ce: classes=", classes, " must be at least 2");
  TORCH_CHECK_VALUE(weights == 0 || weights == classes, "dice_ce: class_weights has ", weights, " entries, expected one for each of ", classes, " classes");
  for (const auto weight : options.class_weights)
    TORCH_CHECK_VALUE(weight >= 0 && std::isfinite(weight), "dice_ce: class_weights=", weight, " must not be negative");
  TORCH_CHECK_VALUE(options.smooth_nr >= 0, "dice_ce: smooth_nr=", options.smooth_nr, " must not be negative");
  TORCH_CHECK_VALUE(options.smooth_dr > 0, "dice_ce: smooth_dr=", options.smooth_dr, " must be positive: a class that is nowhere would divide by zero");
  TORCH_CHECK_VALUE(options.dice_weight >= 0, "dice_ce: dice_weight=", options.dice_weight, " must not be negative");
  TORCH_CHECK_VALUE(options.ce_weight >= 0, "dice_ce: ce_weight=", options.ce_weight, " must not be negative");
  TORCH_CHECK_VALUE(options.label_smoothing >= 0 && options.label_smoothing < 1, "dice_ce: label_smoothing=", options.label_smoothing,
                    " must be within [0, 1)");
}

DiceCeSums dice_ce_sums(const at::Tensor& given, const at::Tensor& labels, const DiceCeOptions& options) {
  check_labels(given, labels, options.ignore);
  check(options, given.size(1));
  const auto logits = (given.scalar_type() == at::kDouble ? given : given.to(at::kFloat)).flatten(2);  // [B, K, N]
  const auto batch = logits.size(0), classes = logits.size(1);
  const auto type = logits.options().requires_grad(false);
  const auto flat = labels.flatten(1);
  const auto known = flat.ne(options.ignore).to(type.dtype());  // [B, N]
  const auto truth = flat.masked_fill(flat.eq(options.ignore), 0).to(at::kLong);
  const auto log_p = at::log_softmax(logits, 1);
  const auto p = log_p.exp();
  const auto own = truth.unsqueeze(1);
  DiceCeSums out;
  out.overlap = at::zeros({batch, classes}, type).scatter_add(1, truth, p.gather(1, own).squeeze(1) * known);
  out.truth = at::zeros({batch, classes}, type).scatter_add(1, truth, known);
  out.said = at::matmul(options.squared ? p.square() : p, known.unsqueeze(2)).squeeze(2);
  out.known = known.sum(1);
  const auto weights = class_weights(options, logits);
  const auto each = weights.defined() ? weights.index_select(0, truth.flatten()).view_as(truth) * known : known;
  auto entropy = -(log_p.gather(1, own).squeeze(1) * each).sum(1);
  if (options.label_smoothing > 0) {
    const auto all = weights.defined() ? (log_p * weights.view({1, -1, 1})).sum(1) : log_p.sum(1);
    entropy = entropy * (1 - options.label_smoothing) - (all * known).sum(1) * (options.label_smoothing / static_cast<double>(classes));
  }
  out.entropy = entropy;
  out.weight = each.sum(1);
  return out;
}

at::Tensor dice_loss(const at::Tensor& overlap, const at::Tensor& said, const at::Tensor& truth, const DiceCeOptions& options) {
  const auto first = options.include_background ? 0 : 1;
  const auto counted = [&](const at::Tensor& x) { return x.slice(1, first); };
  auto loss = 1 - (2 * counted(overlap) + options.smooth_nr) / (counted(said) + counted(truth) + options.smooth_dr);
  // As in MONAI, whose Dice takes no weight where a single class counts.
  if (const auto weights = class_weights(options, overlap); weights.defined() && loss.size(1) > 1) loss = loss * weights.slice(0, first);
  return loss.mean(1);
}

at::Tensor dice_ce(const at::Tensor& logits, const at::Tensor& labels, const DiceCeOptions& options) {
  const auto sums = dice_ce_sums(logits, labels, options);
  const auto joint = [&](const at::Tensor& x) { return options.batch ? x.sum(0, /*keepdim=*/true) : x; };
  const auto dice = dice_loss(joint(sums.overlap), joint(sums.said), joint(sums.truth), options).mean();
  return options.dice_weight * dice + options.ce_weight * sums.entropy.sum() / sums.weight.sum();
}

}  // namespace sslmed::tasks
