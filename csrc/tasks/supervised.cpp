#include "tasks/supervised.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "methods/layers.h"

namespace sslmed::tasks {
Supervised::Supervised(std::shared_ptr<nn::Encoder> encoder, const SupervisedOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : options_(options), recipe_(std::move(recipe)), encoder_(std::move(encoder)) {
  const auto shape = encoder_->shape();
  const auto weights = static_cast<std::int64_t>(options.class_weights.size());
  TORCH_CHECK_VALUE(options.classes == 0 || options.classes >= 2, "classes must be 0 (a regression) or at least 2, got ", options.classes);
  TORCH_CHECK_VALUE(weights == 0 || weights == options.classes, "class_weights has ", weights, " entries, expected one for each of ", options.classes,
                    " classes");
  TORCH_CHECK_VALUE(options.label_smoothing >= 0 && options.label_smoothing < 1, "label_smoothing must be within [0, 1), got ", options.label_smoothing);
  TORCH_CHECK_VALUE(options.layer_decay > 0 && options.layer_decay <= 1, "layer_decay must be within (0, 1], got ", options.layer_decay);
  TORCH_CHECK_VALUE(options.drop_path >= 0 && options.drop_path < 1, "drop_path must be within [0, 1), got ", options.drop_path);
  TORCH_CHECK_VALUE(options.drop_path == 0 || options.tuned == Tuned::kNothing || shape.depth > 0, "drop_path=", options.drop_path,
                    " needs an encoder with residual branches, and this one has none: set it to 0");
  TORCH_CHECK_VALUE(std::isfinite(options.mean), "mean must be finite, got ", options.mean);
  TORCH_CHECK_VALUE(options.scale > 0 && std::isfinite(options.scale), "scale must be positive, got ", options.scale);
  TORCH_CHECK_VALUE(options.groups == 0 || options.groups >= 2, "groups must be 0 (none) or at least 2, got ", options.groups);
  TORCH_CHECK_VALUE(options.group_step > 0, "group_step must be positive, got ", options.group_step);
  TORCH_CHECK_VALUE(options.domains == 0 || options.domains >= 2, "domains must be 0 (none) or at least 2, got ", options.domains);
  TORCH_CHECK_VALUE(options.domain_weight >= 0, "domain_weight must not be negative, got ", options.domain_weight);
  TORCH_CHECK_VALUE(options.domains == 0 || options.tuned != Tuned::kNothing, "domains > 0 (DANN) needs a trainable encoder, got tuned='nothing'");
  TORCH_CHECK_VALUE(options.readout != Readout::kClassToken || shape.class_token, "readout='cls' needs an encoder with a class token; use 'mean'");
  TORCH_CHECK_VALUE(options.tuned != Tuned::kAdapters || shape.adapters > 0, "tuned='adapters' needs an encoder with adapters: make it with lora_rank > 0");
  if (options.readout == Readout::kAttentive) {
    const auto heads = options.readout_heads > 0 ? options.readout_heads : shape.heads;
    TORCH_CHECK_VALUE(shape.dim % heads == 0, "readout_heads=", heads, " must divide the encoder's width of ", shape.dim);
    pool_ = register_module("pool", std::make_shared<nn::AttentivePool>(shape.dim, heads, 4));
    nn::initialise(*pool_, options.seed + 1);
  }
  head_ = register_module("head", std::make_shared<nn::Linear>(shape.dim, outputs()));
  nn::initialise(*head_, options.seed + 2);
  {
    const c10::NoGradGuard guard;
    head_->weight.mul_(0.01);  // nearly the same answer for all at first: the head moves before the encoder does
  }
  if (options.groups > 0) group_weights_ = register_buffer("group_weights", at::full({options.groups}, 1.0 / static_cast<double>(options.groups), at::kDouble));
  if (options.domains > 0) {
    domain_hidden_ = register_module("domain_hidden", std::make_shared<nn::Linear>(shape.dim, shape.dim));
    domain_head_ = register_module("domain_head", std::make_shared<nn::Linear>(shape.dim, options.domains));
    nn::initialise(*domain_hidden_, options.seed + 3);
    nn::initialise(*domain_head_, options.seed + 4);
  }
  register_module("encoder", encoder_);
  for (auto& item : encoder_->named_parameters()) {
    const bool adapter = item.key().find("lora_") != std::string::npos;
    if (options.tuned == Tuned::kNothing || (options.tuned == Tuned::kAdapters && !adapter)) item.value().set_requires_grad(false);
  }
}

std::vector<methods::ParameterGroup> Supervised::parameter_groups() const {
  return methods::layer_groups(Objective::parameter_groups(), *encoder_, {options_.layer_decay});
}

at::Tensor Supervised::drop_paths(const data::Batch& batch, const data::ViewBatch& view, const at::Device& device) const {
  if (!is_training() || options_.tuned == Tuned::kNothing) return {};
  return methods::drop_path_factors({options_.drop_path, encoder_->shape().depth, options_.seed}, batch, view, device);
}

at::Tensor Supervised::read(const nn::Input& view, const nn::Context& context) const {
  const auto features = encoder_->forward_view(view, context);
  if (pool_) return pool_->forward(features.patches(), nn::Rows(features.patch_lengths(), context.samples));
  return options_.readout == Readout::kClassToken ? nn::first_rows(features.tokens, features.lengths) : features.pooled;
}

at::Tensor Supervised::answer(const at::Tensor& pooled, const nn::Rows& rows) const {
  const auto out = head_->forward(pooled, rows);
  return options_.classes > 0 ? out : out * options_.scale + options_.mean;
}

at::Tensor Supervised::forward(const nn::Input& view, const nn::Context& context) const {
  const auto pooled = read(view, context);
  return answer(pooled, nn::Rows::single(pooled.size(0), context.samples));
}

at::Tensor Supervised::losses(const at::Tensor& out, const at::Tensor& truth, const at::Tensor& weights) const {
  if (options_.classes == 0) return ((out.squeeze(1) - truth.to(out.options())) / options_.scale).square();
  const auto number = truth.to(at::kLong);
  TORCH_CHECK_VALUE(number.ge(0).logical_and(number.lt(options_.classes)).all().item<bool>(), "'", options_.target, "' must number ", options_.classes,
                    " classes from 0, got ", number.min().item<std::int64_t>(), " to ", number.max().item<std::int64_t>());
  return at::cross_entropy_loss(out, number.to(out.device()), weights, at::Reduction::None, -100, options_.label_smoothing);
}

// The sum over groups of their weight times their mean loss, over all ranks; weights are moved first, as the paper does.
at::Tensor Supervised::robust(const at::Tensor& losses, const at::Tensor& group, const nn::Comm& comm, double weight) {
  const auto mine = at::zeros({2, options_.groups}, losses.options().dtype(at::kDouble).requires_grad(false));
  mine[0].index_add_(0, group, losses.detach().to(at::kDouble));
  mine[1].index_add_(0, group, at::ones_like(mine[0]).index_select(0, group));
  const auto all = comm.all_gather(mine.unsqueeze(0)).sum(0);
  const auto counts = all[1];
  if (is_training()) {
    const c10::NoGradGuard guard;
    group_weights_.mul_((options_.group_step * all[0] / counts.clamp_min(1)).exp()).div_(group_weights_.sum());
  }
  // So that the mean over ranks, each weighed by its samples, is the sum over groups.
  const double total = counts.sum().item<double>();
  const auto factor = (group_weights_ / counts.clamp_min(1)).index_select(0, group).to(losses.scalar_type()) * (total / weight);
  return (losses * factor).sum();
}

at::Tensor Supervised::absent(const methods::Step& step) {
  const auto zero = Objective::absent(step);  // the encoder's gathers come first, as in loss()
  if (options_.groups > 0) robust(at::empty({0}, head_->bias.options()), at::empty({0}, head_->bias.options().dtype(at::kLong)), *step.comm, 1);
  return zero;
}

methods::Loss Supervised::loss(const data::Batch& batch, const methods::Step& step) {
  TORCH_CHECK_VALUE(!batch.views.empty(), "supervised: the batch has no views");
  if (batch.views.size() == 1) return loss_of(batch, batch.views[0], step);
  TORCH_CHECK_VALUE(options_.groups == 0 && options_.domains == 0, "groups and domains need batches of one kind of view, got ", batch.views.size());
  TORCH_CHECK_VALUE(step.comm->size() == 1 || !encoder_->gathers(), "an encoder that gathers over the ranks needs batches of one kind of view, got ",
                    batch.views.size());
  std::vector<methods::Loss> parts;
  methods::Loss out;
  for (const auto& view : batch.views) {
    parts.push_back(loss_of(batch, view, step));
    out.weight += parts.back().weight;
  }
  for (const auto& part : parts) {
    const auto share = part.total * (part.weight / std::max(out.weight, 1e-12));
    out.total = out.total.defined() ? out.total + share : share;
  }
  return out;
}

methods::Loss Supervised::loss_of(const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) {
  const auto slots = at::tensor(view.slots, at::kLong);
  const auto column = [&](const std::string& name) {
    const auto found = batch.targets.find(name);
    TORCH_CHECK_VALUE(found != batch.targets.end(), "the samples have no target '", name, "'");
    return found->second.index_select(0, slots);
  };
  auto truth = column(options_.target);
  const auto full = [](const at::Tensor& x) { return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat); };  // under autocast too
  auto context = methods::context_of(view, step);
  context.drop_path = drop_paths(batch, view, head_->weight.device());
  const auto pooled = read(methods::input_of(view), context);
  const auto rows = nn::Rows::single(pooled.size(0), view.slots);
  auto out = full(answer(pooled, rows));
  methods::Loss loss;
  const auto known = truth.isfinite();
  const bool whole = known.all().item<bool>();
  TORCH_CHECK_VALUE(whole || options_.domains > 0, "a sample without a value of '", options_.target, "'; leave it out");
  auto group = options_.groups > 0 ? column("group").to(at::kLong) : at::Tensor();
  if (!whole) {
    const auto labeled = known.nonzero().squeeze(1);
    truth = truth.index_select(0, labeled);
    out = out.index_select(0, labeled.to(out.device()));
    if (group.defined()) group = group.index_select(0, labeled);
  }
  at::Tensor weights;
  loss.weight = static_cast<double>(truth.size(0));
  if (options_.classes > 0 && !options_.class_weights.empty()) weights = at::tensor(options_.class_weights, out.options().requires_grad(false));
  const auto each = losses(out, truth, weights);
  if (group.defined()) {
    TORCH_CHECK_VALUE(group.numel() == 0 || (group.min().item<std::int64_t>() >= 0 && group.max().item<std::int64_t>() < options_.groups),
                      "'group' must number ", options_.groups, " groups from 0");
    loss.total = robust(each, group.to(out.device()), *step.comm, loss.weight);
  } else {
    // What the mean is taken over: samples, or with weights of classes the sum of theirs.
    if (weights.defined()) loss.weight = weights.index_select(0, truth.to(at::kLong).to(out.device())).sum().item<double>();
    loss.total = each.sum() / std::max(loss.weight, 1e-12);
    if (whole) loss.per_sample = each.detach();
  }
  if (options_.domains == 0) return loss;
  // The identity whose gradient is turned round: the domain head learns to tell, the encoder to leave it nothing to tell by.
  const double progress = step.total > 0 ? static_cast<double>(step.number) / static_cast<double>(step.total) : 1;
  const double strength = options_.domain_weight * (2 / (1 + std::exp(-10 * progress)) - 1);
  const auto reversed = pooled.detach() * (1 + strength) - pooled * strength;
  const auto said = full(domain_head_->forward(at::gelu(domain_hidden_->forward(reversed, rows)), rows));
  const auto domain = at::cross_entropy_loss(said, column("domain").to(at::kLong).to(said.device()));
  loss.parts.emplace_back("task_loss", loss.total.detach());
  loss.parts.emplace_back("domain_loss", domain.detach());
  loss.total = loss.total + domain;
  loss.weight = static_cast<double>(view.slots.size());
  loss.per_sample = at::Tensor();
  return loss;
}

}  // namespace sslmed::tasks
