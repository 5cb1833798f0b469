#include "tasks/bags.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "data/bags.h"
#include "nn/functional.h"

namespace sslmed::tasks {
namespace {

constexpr std::uint64_t kUnits = 0x8000;  // dropped units draw beside dropped paths, as a view that nobody else has

nn::Dropout dropout_of(const BagTaskOptions& options, const data::Batch& batch, const std::vector<std::int64_t>& slots) {
  nn::Dropout out{options.dropout, {}};
  for (const auto slot : slots) {
    const auto id = static_cast<std::uint64_t>(batch.sample_ids[static_cast<std::size_t>(slot)]);
    Philox random({options.seed, batch.number, id + (kUnits << 48)}, Stream::kDropPath);
    const std::uint64_t high = random.next_u32();
    out.seeds.push_back(high << 32 | random.next_u32());
  }
  return out;
}

at::Tensor full_precision(const at::Tensor& x) { return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat); }

}  // namespace

void BagTask::check() const {
  const auto& o = options_;
  const bool classes = o.outcome == Outcome::kClasses;
  const auto branches = aggregator_->config().branches;
  const auto weights = static_cast<std::int64_t>(o.class_weights.size());
  TORCH_CHECK_VALUE(!classes || o.classes >= 2, "classes=", o.classes, " must be at least 2");
  TORCH_CHECK_VALUE(classes || o.classes == 0, "classes=", o.classes, " must be 0 where the outcome is no class");
  TORCH_CHECK_VALUE(weights == 0 || weights == o.classes, "class_weights has ", weights, " entries, expected one for each of ", o.classes, " classes");
  TORCH_CHECK_VALUE(o.label_smoothing >= 0 && o.label_smoothing < 1, "label_smoothing=", o.label_smoothing, " must be within [0, 1)");
  TORCH_CHECK_VALUE(std::isfinite(o.mean), "mean=", o.mean, " must be finite");
  TORCH_CHECK_VALUE(o.scale > 0 && std::isfinite(o.scale), "scale=", o.scale, " must be positive");
  TORCH_CHECK_VALUE(o.dropout >= 0 && o.dropout < 1, "dropout=", o.dropout, " must be within [0, 1)");
  TORCH_CHECK_VALUE(o.instance_weight >= 0 && o.instance_weight < 1, "instance_weight=", o.instance_weight, " must be within [0, 1)");
  TORCH_CHECK_VALUE(o.instance_count > 0, "instance_count=", o.instance_count, " must be at least 1 row");
  TORCH_CHECK_VALUE(branches == 1 || (classes && branches == o.classes), "branches=", branches, " must be 1, or one for each of ", o.classes, " classes");
  const bool attends = aggregator_->config().kind == nn::Aggregation::kAttention;
  TORCH_CHECK_VALUE(o.instance_weight == 0 || (classes && attends), "instance_weight=", o.instance_weight, " needs classes and an aggregator by attention");
}

BagTask::BagTask(std::shared_ptr<nn::Aggregator> aggregator, const BagTaskOptions& options) : options_(options), aggregator_(std::move(aggregator)) {
  check();
  const auto dim = aggregator_->shape().dim;
  head_ = register_module("head", std::make_shared<nn::Linear>(dim, outputs()));
  nn::initialise(*head_, options.seed + 1);
  if (options.instance_weight > 0) {
    const auto all = register_module("instance", std::make_shared<torch::nn::Module>());
    for (std::int64_t c = 0; c < options.classes; ++c) instances_.push_back(all->register_module(std::to_string(c), std::make_shared<nn::Linear>(dim, 2)));
    nn::initialise(*all, options.seed + 2);
  }
  register_module("encoder", aggregator_);
}

std::shared_ptr<const data::Recipe> BagTask::recipe() const { return std::make_shared<data::BagRecipe>(); }

std::pair<at::Tensor, nn::BagFeatures> BagTask::forward(const nn::PatchTokens& bags, const nn::Dropout& dropout) const {
  auto found = aggregator_->aggregate(bags, dropout);
  const auto rows = nn::Rows::single(found.pooled.size(0));
  const auto out = found.pooled.size(1) > 1 ? nn::branch_linear(found.pooled, head_->weight, head_->bias, rows) : head_->forward(found.pooled.squeeze(1), rows);
  return {options_.outcome == Outcome::kValue ? out * options_.scale + options_.mean : out, std::move(found)};
}

at::Tensor BagTask::instance_loss(const at::Tensor& scores, const at::Tensor& rows, std::int64_t truth) const {
  const auto count = std::min(options_.instance_count, rows.size(0));
  const auto detached = scores.detach();
  const auto cross = [&](std::int64_t c, const at::Tensor& index, const at::Tensor& is) {
    const auto said = instances_[static_cast<std::size_t>(c)]->forward(rows.index_select(0, index), nn::Rows::single(index.size(0)));
    return at::cross_entropy_loss(full_precision(said), is);
  };
  at::Tensor sum;
  for (std::int64_t c = 0; c < options_.classes; ++c) {
    if (c != truth && !options_.subtyping) continue;
    const auto own = detached.select(1, detached.size(1) > 1 ? c : 0);
    const auto most = std::get<1>(own.topk(count));
    const auto numbers = most.options();
    at::Tensor part;
    if (c == truth) {
      const auto least = std::get<1>(own.topk(count, 0, /*largest=*/false));
      part = cross(c, at::cat({most, least}), at::cat({at::ones({count}, numbers), at::zeros({count}, numbers)}));
    } else {
      part = cross(c, most, at::zeros({count}, numbers));
    }
    sum = sum.defined() ? sum + part : part;
  }
  return options_.subtyping ? sum / static_cast<double>(options_.classes) : sum;
}

BagTask::Part BagTask::part_of(const nn::PatchTokens& bags, const at::Tensor& target, const nn::Dropout& dropout) const {
  auto [out, found] = forward(bags, dropout);
  Part part{full_precision(out), {}};
  if (options_.instance_weight == 0) return part;
  std::int64_t first = 0;
  std::vector<at::Tensor> losses;
  for (std::size_t b = 0; b < bags.lengths.size(); ++b) {
    const auto n = bags.lengths[b];
    const auto truth = target[static_cast<std::int64_t>(b)].item<double>();
    losses.push_back(instance_loss(found.scores.narrow(0, first, n), found.rows.narrow(0, first, n), static_cast<std::int64_t>(truth)));
    first += n;
  }
  part.instance = at::stack(losses).mean();
  return part;
}

methods::Loss BagTask::total_of(const at::Tensor& out, const at::Tensor& target, const at::Tensor& event, const at::Tensor& instance) const {
  methods::Loss loss;
  const auto& o = options_;
  loss.weight = static_cast<double>(out.size(0));
  if (o.outcome == Outcome::kSurvival) {
    loss.total = methods::cox(out.squeeze(1), target, event, o.ties);
    loss.weight = std::max(event.sum().item<double>(), 1e-12);
    return loss;
  }
  if (o.outcome == Outcome::kValue) {
    const auto each = ((out.squeeze(1) - target.to(out.options().requires_grad(false))) / o.scale).square();
    loss.total = each.mean();
    loss.per_sample = each.detach();
    return loss;
  }
  at::Tensor weights;
  const auto truth = target.to(at::kLong);
  if (!o.class_weights.empty()) {
    weights = at::tensor(o.class_weights, out.options().requires_grad(false));
    loss.weight = weights.index_select(0, truth.to(out.device())).sum().item<double>();
  }
  const auto each = at::cross_entropy_loss(out, truth.to(out.device()), weights, at::Reduction::None, -100, o.label_smoothing);
  loss.total = each.sum() / std::max(loss.weight, 1e-12);
  if (!instance.defined()) {
    loss.per_sample = each.detach();
    return loss;
  }
  loss.parts.emplace_back("bag_loss", loss.total.detach());
  loss.parts.emplace_back("instance_loss", instance.detach());
  loss.total = (1 - o.instance_weight) * loss.total + o.instance_weight * instance;
  return loss;
}

methods::Loss BagTask::loss_of(const nn::PatchTokens& bags, const at::Tensor& target, const at::Tensor& event, const nn::Dropout& dropout) const {
  TORCH_CHECK_VALUE(target.isfinite().all().item<bool>(), "a bag without a value of '", options_.target, "'; leave it out");
  if (options_.outcome == Outcome::kClasses)
    TORCH_CHECK_VALUE(target.ge(0).logical_and(target.lt(options_.classes)).all().item<bool>(), "'", options_.target, "' must number ", options_.classes,
                      " classes from 0, got ", target.min().item<double>(), " to ", target.max().item<double>());
  TORCH_CHECK_VALUE(options_.outcome != Outcome::kSurvival || event.defined(), "survival needs the event of each bag");
  const auto part = part_of(bags, target, dropout);
  return total_of(part.out, target, event, part.instance);
}

methods::Loss BagTask::loss(const data::Batch& batch, const methods::Step& step) {
  TORCH_CHECK_VALUE(batch.views.size() == 1, "a batch of bags must be of one type and width of features, got ", batch.views.size());
  TORCH_CHECK_VALUE(options_.outcome != Outcome::kSurvival || step.comm->size() == 1,
                    "outcome='survival' compares the bags of a batch with each other and runs in one process, got ", step.comm->size());
  const auto& view = batch.views.front();
  const auto slots = at::tensor(view.slots, at::kLong);
  const auto column = [&](const std::string& name) {
    const auto found = batch.targets.find(name);
    TORCH_CHECK_VALUE(found != batch.targets.end(), "the samples have no target '", name, "'");
    return found->second.index_select(0, slots);
  };
  const auto event = options_.outcome == Outcome::kSurvival ? column(options_.event) : at::Tensor();
  const auto dropout = is_training() ? dropout_of(options_, batch, view.slots) : nn::Dropout{};
  return loss_of(methods::tokens_of(view.patches("a task of bags")), column(options_.target), event, dropout);
}

BagAnswers answers(const BagTask& task, data::Loader& loader) {
  const c10::NoGradGuard guard;
  const auto device = task.parameters().front().device();
  std::vector<at::Tensor> rows;
  std::vector<std::int64_t> ids;
  while (const auto batch = loader.next()) {
    for (const auto& packed : batch->views) {
      const auto view = packed.to(device);
      rows.push_back(task.forward(methods::tokens_of(view.patches("a task of bags"))).first.to(at::kCPU, at::kDouble));
      for (const auto slot : view.slots) ids.push_back(batch->sample_ids[static_cast<std::size_t>(slot)]);
    }
  }
  if (rows.empty()) return {at::empty({0, task.outputs()}, at::kDouble), at::empty({0}, at::kLong)};
  const auto sample_ids = at::tensor(ids, at::kLong);
  const auto order = sample_ids.argsort(/*stable=*/true, 0, false);
  return {at::cat(rows).index_select(0, order), sample_ids.index_select(0, order)};
}

}  // namespace sslmed::tasks
