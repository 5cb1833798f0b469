#include "tasks/segment.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "methods/dense_view.h"
#include "methods/layers.h"
#include "nn/vit.h"

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

}  // namespace

Segment::Segment(std::shared_ptr<nn::Encoder> encoder, const SegmentOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : options_(options), recipe_(std::move(recipe)) {
  TORCH_CHECK_VALUE(encoder != nullptr, "segment: needs an encoder");
  TORCH_CHECK_VALUE(classes() >= 2, "segment: values has ", classes(), " entries, expected the label of each of at least 2 classes");
  check(options.loss, classes());
  TORCH_CHECK_VALUE(options.layer_decay > 0 && options.layer_decay <= 1, "segment: layer_decay=", options.layer_decay, " must be within (0, 1]");
  TORCH_CHECK_VALUE(options.drop_path >= 0 && options.drop_path < 1, "segment: drop_path=", options.drop_path, " must be within [0, 1)");
  TORCH_CHECK_VALUE(options.drop_path == 0 || options.tuned == Tuned::kNothing || encoder->shape().depth > 0, "segment: drop_path=", options.drop_path,
                    " needs an encoder with residual branches, and this one has none: set it to 0");
  TORCH_CHECK_VALUE(options.tuned != Tuned::kAdapters, "segment: tuned='adapters' is not supported; use 'encoder' or 'nothing'");
  table_ = table_of(options);
  options_.loss.ignore = -1;
  nn::SegmenterConfig config;
  config.decoder = options.decoder;
  config.classes = classes();
  config.features = options.features;
  config.layers = options.layers;
  config.style = {options.groups, options.residual, options.attention};
  config.seed = options.seed + 1;
  net_ = std::make_shared<nn::Segmenter>(std::move(encoder), std::move(config));
  register_module("encoder", net_->encoder());
  register_module("decoder", net_->decoder());
  if (options.tuned != Tuned::kNothing) return;
  for (auto& parameter : net_->encoder()->parameters()) parameter.set_requires_grad(false);
}

std::vector<methods::ParameterGroup> Segment::parameter_groups() const {
  return methods::layer_groups(Objective::parameter_groups(), *net_->encoder(), {options_.layer_decay});
}

at::Tensor Segment::numbered(const data::ViewBatch& view, const at::Tensor& input) const {
  const auto found = view.targets.find(options_.target);
  TORCH_CHECK_VALUE(found != view.targets.end(), "segment: the views have no target '", options_.target, "'");
  for (const auto& map : found->second)
    TORCH_CHECK_VALUE(map.scalar_type() == at::kInt && map.sizes() == input.sizes().slice(2), "segment: the target '", options_.target,
                      "' must be a label map ", input.sizes().slice(2), " like the view, got ", map.sizes());
  const auto maps = at::stack(found->second);
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

Segment::Part Segment::loss_of(const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) const {
  const auto& encoder = *net_->encoder();
  const auto dense = methods::dense_view(batch, view, encoder, options_.seed, step.number, "segment");
  const auto labels = numbered(view, dense.values);
  auto context = methods::context_of(view, step);
  if (is_training() && options_.tuned != Tuned::kNothing)
    context.drop_path = methods::drop_path_factors({options_.drop_path, encoder.shape().depth, options_.seed}, batch, view, dense.values.device());
  // A vision transformer takes its tokens as they are, with their coordinates.
  const bool tokens = dynamic_cast<const nn::VisionTransformer*>(&encoder) != nullptr;
  const auto logits = net_->forward_view(tokens ? methods::input_of(view) : nn::Input(nn::DenseInput{dense.values, {}}), dense.values, context);
  const auto sums = dice_ce_sums(logits, labels, options_.loss);
  const auto counted = sums.known.gt(0).to(sums.known.scalar_type());  // [B]
  Part out;
  out.weight = counted.sum().item<double>();
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
  const auto mean = [&](const at::Tensor& x) { return x.sum() / std::max(out.weight, 1e-12); };
  out.total = mean(each);
  if (!options_.loss.batch) out.per_sample = each.detach();
  out.dice = mean(dice.detach() * counted);
  out.entropy = mean(entropy.detach() * counted);
  return out;
}

at::Tensor Segment::absent(const methods::Step& step) {
  const auto zero = Objective::absent(step);  // the encoder's gathers come first, as in loss()
  if (!options_.loss.batch) return zero;
  const auto like = net_->decoder()->parameters().front().options().requires_grad(false);
  return zero + step.comm->all_gather(at::zeros({1, 3, classes()}, like) + zero).sum() * 0;
}

methods::Loss Segment::loss(const data::Batch& batch, const methods::Step& step) {
  TORCH_CHECK_VALUE(!batch.views.empty(), "segment: the batch has no views");
  TORCH_CHECK_VALUE(batch.views.size() == 1 || step.comm->size() == 1 || (!encoder()->gathers() && !options_.loss.batch),
                    "segment: what gathers over the ranks needs batches of views of one size, got ", batch.views.size(), " sizes");
  std::vector<Part> parts;
  methods::Loss out;
  for (const auto& view : batch.views) {
    parts.push_back(loss_of(batch, view, step));
    out.weight += parts.back().weight;
  }
  at::Tensor dice, entropy;
  const auto add = [&](at::Tensor& to, const at::Tensor& value, double weight) {
    const auto share = value * (parts.size() == 1 ? 1 : weight / std::max(out.weight, 1e-12));
    to = to.defined() ? to + share : share;
  };
  for (const auto& part : parts) {
    add(out.total, part.total, part.weight);
    add(dice, part.dice, part.weight);
    add(entropy, part.entropy, part.weight);
  }
  if (parts.size() == 1) out.per_sample = parts.front().per_sample;
  out.parts = {{"dice_loss", dice}, {"ce_loss", entropy}};
  out.weight = std::max(out.weight, 1e-12);  // not a single labeled cell: the batch does not count
  return out;
}

}  // namespace sslmed::tasks
