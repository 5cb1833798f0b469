#include "methods/joint_embedding.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <set>
#include <utility>

namespace sslmed::methods {
namespace {

// Rows in the order of their places.
at::Tensor in_order(const at::Tensor& rows, const std::vector<std::int64_t>& slots) {
  if (std::is_sorted(slots.begin(), slots.end())) return rows;
  std::vector<std::int64_t> order(slots.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return slots[static_cast<std::size_t>(a)] < slots[static_cast<std::size_t>(b)]; });
  return rows.index_select(0, at::tensor(order, at::kLong).to(rows.device()));
}

// The places of a role's first number, ascending.
std::vector<std::int64_t> places_of(const Seen& seen, const std::string& role) {
  std::vector<std::int64_t> slots;
  for (const auto* view : seen.views())
    if (view->role == role && view->number == 0) slots.insert(slots.end(), view->slots.begin(), view->slots.end());
  std::sort(slots.begin(), slots.end());
  return slots;
}

}  // namespace

std::vector<at::Tensor> Seen::summaries(const std::string& role) const {
  struct Part {
    std::vector<at::Tensor> rows;
    std::vector<std::int64_t> slots;
  };
  std::map<std::int32_t, Part> numbers;
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (views_[i]->role != role) continue;
    auto& part = numbers[views_[i]->number];
    part.rows.push_back(features_[i].summary());
    part.slots.insert(part.slots.end(), views_[i]->slots.begin(), views_[i]->slots.end());
  }
  std::vector<at::Tensor> out;
  std::vector<std::int64_t> first;
  for (auto& [number, part] : numbers) {
    out.push_back(in_order(part.rows.size() == 1 ? part.rows[0] : at::cat(part.rows), part.slots));
    std::sort(part.slots.begin(), part.slots.end());
    if (out.size() == 1) first = part.slots;
    TORCH_CHECK_VALUE(part.slots == first, "view ", number, " of the role '", role, "' is of other samples than view 0");
  }
  return out;
}

JointEmbedding::JointEmbedding(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin,
                               std::shared_ptr<const data::Recipe> recipe, std::int64_t least_globals)
    : name_(std::move(name)), encoder_(std::move(encoder)), twin_(std::move(twin)), recipe_(std::move(recipe)), least_globals_(least_globals) {
  TORCH_CHECK_VALUE(encoder_ != nullptr, name_, ": needs an encoder");
  register_module("encoder", encoder_);
  if (!twin_) return;
  TORCH_CHECK_VALUE(twin_ != encoder_, name_, ": the twin must be another encoder than the one that is trained");
  register_module("twin", twin_);
}

nn::Input JointEmbedding::input(const data::ViewBatch& view, bool) const { return input_of(view); }

Seen JointEmbedding::see(const nn::Encoder& encoder, const data::Batch& batch, bool of_twin, const Step& step) const {
  std::vector<const data::ViewBatch*> views;
  std::vector<nn::Input> inputs;
  std::vector<nn::Context> contexts;
  for (const auto& view : batch.views) {
    if (view.role != "global" && (of_twin || view.role != "local")) continue;
    views.push_back(&view);
    inputs.push_back(input(view, of_twin));
    contexts.push_back(context_of(view, step));
    if (!of_twin) contexts.back().drop_path = drop_path(batch, view);
  }
  if (views.empty()) return {};
  auto features = encoder.forward_all(inputs, contexts);
  return {std::move(views), std::move(features)};
}

JointEmbedding::Counts JointEmbedding::counts_of(const data::Batch& batch) {
  Counts out;
  std::set<std::vector<std::int64_t>> shapes, twin_shapes;
  for (const auto& view : batch.views) {
    const bool global = view.role == "global";
    if (!global && view.role != "local") continue;
    auto& views = global ? out.globals : out.locals;
    views = std::max<std::int64_t>(views, view.number + 1);
    const auto* dense = std::get_if<data::StackedDense>(&view.content);
    if (dense == nullptr) continue;
    const auto shape = dense->values.sizes().slice(1).vec();
    shapes.insert(shape);
    if (global) twin_shapes.insert(shape);
  }
  out.passes = static_cast<std::int64_t>(shapes.size());
  out.twin_passes = static_cast<std::int64_t>(twin_shapes.size());
  return out;
}

JointEmbedding::Counts JointEmbedding::agreed(const Counts& own, const Step& step) const {
  if (step.comm->size() == 1) return own;
  const auto numbers = at::tensor({own.globals, own.locals, own.passes, own.twin_passes}, at::kLong);
  const auto most = step.comm->all_gather(numbers.unsqueeze(0).to(encoder_->parameters().front().device())).amax(0).cpu();
  const auto* at = most.const_data_ptr<std::int64_t>();
  return {at[0], at[1], at[2], at[3]};
}

Loss JointEmbedding::loss(const data::Batch& batch, const Step& step) {
  agreed(counts_of(batch), step);
  Views views;
  views.batch = &batch;
  views.online = see(*encoder_, batch, /*of_twin=*/false, step);
  views.global = views.online.summaries("global");
  views.local = views.online.summaries("local");
  TORCH_CHECK_VALUE(static_cast<std::int64_t>(views.global.size()) >= least_globals_, name_, ": needs ", least_globals_,
                    " views of the role 'global' of each sample, got ", views.global.size());
  if (twin_) {
    const c10::NoGradGuard guard;
    views.twin = see(*twin_, batch, /*of_twin=*/true, step);
    views.target = views.twin.summaries("global");
  }
  views.slots = places_of(views.online, "global");
  TORCH_CHECK_VALUE(views.local.empty() || views.slots == places_of(views.online, "local"), name_, ": a sample lacks its local views");
  auto out = loss_of(views, step);
  if (!out.features.defined()) out.features = views.global.front().detach();
  if (out.weight == 0) out.weight = static_cast<double>(views.slots.size());
  return out;
}

at::Tensor JointEmbedding::no_rows(const nn::Encoder& encoder, std::int64_t passes, const Step& step) const {
  nn::Context context;
  context.comm = step.comm;
  const auto reference = encoder.parameters().front();
  auto rows = at::zeros({0, encoder.shape().dim}, reference.options().requires_grad(false)) + reference.sum() * 0;
  if (encoder.gathers())
    for (std::int64_t pass = 0; pass < passes; ++pass) rows = rows + encoder.absent(context) * 0;
  return rows;
}

at::Tensor JointEmbedding::absent(const Step& step) {
  const auto counts = agreed({}, step);
  if (counts.globals == 0) return encoder_->parameters().front().sum() * 0;  // no rank has samples
  Views views;
  const auto rows = no_rows(*encoder_, counts.passes, step);
  views.global.assign(static_cast<std::size_t>(counts.globals), rows);
  views.local.assign(static_cast<std::size_t>(counts.locals), rows);
  if (twin_) {
    const c10::NoGradGuard guard;
    views.target.assign(views.global.size(), no_rows(*twin_, counts.twin_passes, step));
  }
  return loss_of(views, step).total * 0;
}

double cosine_momentum(double start, std::int64_t step, std::int64_t total) {
  const double progress = total > 0 ? static_cast<double>(step) / static_cast<double>(total) : 0;
  return 1 - (1 - start) * (std::cos(std::numbers::pi * progress) + 1) / 2;
}

}  // namespace sslmed::methods
