#include "tasks/segment.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace sslmed::tasks {
namespace {

constexpr std::int64_t kLargestValue = 65535;
constexpr std::int64_t kUnknownValue = -2;

at::Tensor table_of(const SegmentOptions& options) {
  auto largest = options.loss.ignore;
  for (const auto value : options.values) {
    TORCH_CHECK_VALUE(value >= 0 && value <= kLargestValue, "segment: values=", value, " must be within 0 and ", kLargestValue);
    TORCH_CHECK_VALUE(std::count(options.values.begin(), options.values.end(), value) == 1, "segment: values has ", value, " twice");
    TORCH_CHECK_VALUE(value != options.loss.ignore, "segment: ignore=", value, " is one of the values that classes have");
    largest = std::max(largest, value);
  }
  TORCH_CHECK_VALUE(options.loss.ignore >= -1 && largest <= kLargestValue, "segment: ignore=", options.loss.ignore, " must be within -1 and ", kLargestValue);
  auto table = at::full({largest + 1}, kUnknownValue, at::kLong);
  for (std::size_t i = 0; i < options.values.size(); ++i) table[options.values[i]] = static_cast<std::int64_t>(i);
  if (options.loss.ignore >= 0) table[options.loss.ignore] = -1;
  return table;
}

// The network's options, once the loss's are known to fit.
nn::SegmenterConfig segmenter_config(const SegmentOptions& options) {
  const auto classes = static_cast<std::int64_t>(options.values.size());
  TORCH_CHECK_VALUE(classes >= 2, "segment: values has ", classes, " entries, expected the label of each of at least 2 classes");
  check(options.loss, classes);
  nn::SegmenterConfig config;
  config.decoder = options.decoder;
  config.classes = classes;
  config.features = options.features;
  config.layers = options.layers;
  config.style = {options.groups, options.residual, options.attention};
  config.seed = options.seed + 1;
  return config;
}

}  // namespace

Segment::Segment(std::shared_ptr<nn::Encoder> encoder, const SegmentOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : DenseTask(std::move(encoder), segmenter_config(options), {options.tuned, options.layer_decay, options.drop_path, options.seed}, std::move(recipe),
                "segment"),
      options_(options),
      table_(table_of(options)) {
  options_.loss.ignore = -1;
}

at::Tensor Segment::numbered(const data::ViewBatch& view, const at::Tensor& input) const {
  const auto& found = target_of(view, options_.target);
  for (const auto& map : found)
    TORCH_CHECK_VALUE(map.scalar_type() == at::kInt && map.sizes() == input.sizes().slice(2), "segment: the target '", options_.target,
                      "' must be a label map ", input.sizes().slice(2), " like the view, got ", map.sizes());
  const auto maps = at::stack(found);
  const auto unlabeled = maps.eq(data::kUnlabeled);
  const auto out_of_table = maps.lt(data::kUnlabeled).logical_or(maps.ge(table_.size(0)));
  const auto indices = maps.masked_fill(unlabeled.logical_or(out_of_table), 0).to(at::kLong);
  const auto table = table_.to(maps.device());
  const auto classes = table.index_select(0, indices.flatten()).view(maps.sizes()).masked_fill(out_of_table, kUnknownValue).masked_fill(unlabeled, -1);
  const auto unknown = classes.eq(kUnknownValue);
  TORCH_CHECK_VALUE(!unknown.any().item<bool>(), "segment: the target '", options_.target, "' holds ", maps.masked_select(unknown)[0].item<std::int64_t>(),
                    ", which is none of values=", at::IntArrayRef(options_.values));
  return classes;
}

at::Tensor Segment::add_loss(PartsOfLoss& to, const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) const {
  const auto dense = this->dense(batch, view, step);
  const auto labels = numbered(view, dense.values);
  const auto logits = decoded(batch, view, dense, step);
  const auto sums = dice_ce_sums(logits, labels, options_.loss);
  const auto counted = sums.known.gt(0).to(sums.known.scalar_type());  // [B]
  const auto weight = counted.sum().item<double>();
  const auto entropy = sums.entropy / sums.weight.clamp_min(1e-12);  // [B]
  at::Tensor dice;
  if (options_.loss.batch) {
    const auto own = at::stack({sums.overlap.sum(0), sums.said.sum(0), sums.truth.sum(0)}).unsqueeze(0);  // [1, 3, K]
    const auto all = step.comm->all_gather(own).sum(0);
    dice = dice_loss(all[0].unsqueeze(0), all[1].unsqueeze(0), all[2].unsqueeze(0), options_.loss).expand_as(entropy);
  } else {
    dice = dice_loss(sums.overlap, sums.said, sums.truth, options_.loss);
  }
  const auto each = (options_.loss.dice_weight * dice + options_.loss.ce_weight * entropy) * counted;
  const auto mean = [&](const at::Tensor& x) { return x.sum() / std::max(weight, 1e-12); };
  to.add(mean(each), weight, {{"dice_loss", mean(dice.detach() * counted)}, {"ce_loss", mean(entropy.detach() * counted)}});
  return options_.loss.batch ? at::Tensor() : each.detach();
}

at::Tensor Segment::absent(const methods::Step& step) {
  const auto zero = Objective::absent(step);  // the encoder's gathers come first, as in loss()
  if (!options_.loss.batch) return zero;
  const auto like = net().decoder()->parameters().front().options().requires_grad(false);
  return zero + step.comm->all_gather(at::zeros({1, 3, classes()}, like) + zero).sum() * 0;
}

methods::Loss Segment::loss(const data::Batch& batch, const methods::Step& step) {
  check_views(batch, step, options_.loss.batch);
  PartsOfLoss parts;
  at::Tensor per_sample;
  for (const auto& view : batch.views) per_sample = add_loss(parts, batch, view, step);
  auto out = parts.mean();
  if (batch.views.size() == 1) out.per_sample = per_sample;
  return out;
}

}  // namespace sslmed::tasks
