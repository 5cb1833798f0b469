#include "methods/distill.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <map>
#include <numeric>
#include <utility>

#include "methods/joint_embedding.h"

namespace sslmed::methods {
namespace {

constexpr const char* kTeacherRole = "teacher";

// What an encoder makes of the views that are for it.
Seen pass_over(const nn::Encoder& encoder, const data::Batch& batch, bool of_teacher, const Step& step) {
  std::vector<const data::ViewBatch*> views;
  std::vector<nn::Input> inputs;
  std::vector<nn::Context> contexts;
  for (const auto& view : batch.views) {
    if ((view.role == kTeacherRole) != of_teacher) continue;
    views.push_back(&view);
    inputs.push_back(input_of(view));
    contexts.push_back(context_of(view, step));
  }
  if (views.empty()) return {};
  auto features = encoder.forward_all(inputs, contexts);
  return {std::move(views), std::move(features)};
}

bool has_teacher_views(const data::Batch& batch) {
  for (const auto& view : batch.views)
    if (view.role == kTeacherRole) return true;
  return false;
}

struct TokenGrid {
  at::Tensor tokens;               // [N, D]
  std::vector<std::int64_t> grid;  // cells along each axis; empty: not known
};

// Tokens of every view by the number of the view and its place in the batch.
std::map<std::pair<std::int32_t, std::int64_t>, TokenGrid> tokens_by_sample(const Seen& seen) {
  std::map<std::pair<std::int32_t, std::int64_t>, TokenGrid> out;
  for (std::size_t i = 0; i < seen.views().size(); ++i) {
    const auto& view = *seen.views()[i];
    const auto& features = seen.features()[i];
    const auto parts = features.patches().split_with_sizes(features.patch_lengths());
    const auto* patches = std::get_if<data::PackedPatches>(&view.content);
    for (std::size_t b = 0; b < parts.size(); ++b) {
      TokenGrid one{parts[b], {}};
      if (!features.pyramid.empty()) {
        one.grid = features.pyramid.back().sizes().slice(2).vec();
      } else if (patches != nullptr && patches->extents.defined()) {
        const auto extent = patches->extents[static_cast<std::int64_t>(b)].to(at::kLong).contiguous();
        const auto* at = extent.const_data_ptr<std::int64_t>();
        one.grid.assign(at, at + extent.numel());
      }
      const auto cells = std::accumulate(one.grid.begin(), one.grid.end(), std::int64_t{1}, std::multiplies<>());
      if (cells != one.tokens.size(0)) one.grid.clear();
      out[{view.number, view.slots[b]}] = std::move(one);
    }
  }
  return out;
}

// The teacher's tokens where the student's are.
at::Tensor matched(const TokenGrid& teacher, const TokenGrid& student) {
  const bool known = !teacher.grid.empty() && teacher.grid.size() == student.grid.size();
  if (known) return resample_tokens(teacher.tokens, teacher.grid, student.grid);
  TORCH_CHECK_VALUE(teacher.tokens.size(0) == student.tokens.size(0), "distill: token_weight > 0, but the teacher has ", teacher.tokens.size(0),
                    " tokens of a sample and the student ", student.tokens.size(0), ", and they are on no grids of one rank");
  return teacher.tokens;
}

}  // namespace

at::Tensor resample_tokens(const at::Tensor& tokens, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& to) {
  TORCH_CHECK_VALUE(grid.size() == to.size() && !grid.empty() && grid.size() <= 3, "resample_tokens: grids of ", grid.size(), " and ", to.size(),
                    " axes, expected two of 1 to 3");
  if (grid == to) return tokens;
  std::vector<std::int64_t> shape{1, tokens.size(1)};
  shape.insert(shape.end(), grid.begin(), grid.end());
  const auto map = tokens.t().reshape(shape).contiguous();
  at::Tensor out;
  if (grid.size() == 1) out = at::upsample_linear1d(map, to, /*align_corners=*/false);
  if (grid.size() == 2) out = at::upsample_bilinear2d(map, to, /*align_corners=*/false);
  if (grid.size() == 3) out = at::upsample_trilinear3d(map, to, /*align_corners=*/false);
  return out.flatten(2)[0].t();
}

Distill::Distill(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> teacher, const DistillOptions& options,
                 std::shared_ptr<const data::Recipe> recipe)
    : options_(options), recipe_(std::move(recipe)), encoder_(std::move(encoder)), teacher_(std::move(teacher)) {
  TORCH_CHECK_VALUE(encoder_ != nullptr && teacher_ != nullptr, "distill: needs an encoder and a teacher");
  TORCH_CHECK_VALUE(encoder_ != teacher_, "distill: the teacher must be another encoder than the one that is trained");
  TORCH_CHECK_VALUE(options.token_weight >= 0, "distill: token_weight=", options.token_weight, " must not be negative");
  register_module("encoder", encoder_);
  const nn::MlpHeadConfig head{.in = encoder_->shape().dim, .hidden = options.hidden, .out = teacher_->shape().dim, .layers = options.layers, .norm = false};
  projection_ = register_module("projection", std::make_shared<nn::MlpHead>(head));
  nn::initialise(*projection_, options.seed + 1);
  if (options.token_weight > 0) {
    token_projection_ = register_module("token_projection", std::make_shared<nn::MlpHead>(head));
    nn::initialise(*token_projection_, options.seed + 2);
  }
  for (auto& parameter : teacher_->parameters()) parameter.set_requires_grad(false);
  teacher_->train(false);
}

void Distill::follow_student() {
  const auto mine = encoder_->parameters().front(), theirs = teacher_->parameters().front();
  if (mine.device() != theirs.device() || mine.scalar_type() != theirs.scalar_type()) teacher_->to(mine.device(), mine.scalar_type());
}

at::Tensor Distill::compared(const at::Tensor& student, const at::Tensor& teacher) const {
  if (options_.loss == DistillLoss::kCosine) return 1 - at::cosine_similarity(student, teacher, /*dim=*/1, /*eps=*/1e-8);
  return (student - at::layer_norm(teacher, {teacher.size(1)})).square().mean(1);
}

Loss Distill::loss(const data::Batch& batch, const Step& step) {
  const auto student = pass_over(*encoder_, batch, /*of_teacher=*/false, step);
  TORCH_CHECK_VALUE(!student.views().empty(), "distill: the batch has no view for the student");
  const auto role = student.views().front()->role;
  Seen teacher;
  {
    const c10::NoGradGuard guard;
    follow_student();
    teacher = pass_over(*teacher_, batch, has_teacher_views(batch), step);
  }
  const auto mine = student.summaries(role);
  const auto theirs = teacher.summaries(teacher.views().front()->role);
  TORCH_CHECK_VALUE(mine.size() == theirs.size(), "distill: ", mine.size(), " views of each sample for the student and ", theirs.size(), " for the teacher");
  const auto seen = at::cat(mine), wanted = at::cat(theirs);
  TORCH_CHECK_VALUE(seen.size(0) == wanted.size(0), "distill: ", seen.size(0), " views for the student and ", wanted.size(0), " for the teacher");
  Loss out;
  const auto of_samples = compared(projection_->forward(seen, *step.comm), wanted);
  out.total = of_samples.mean();
  out.weight = static_cast<double>(seen.size(0));
  out.features = mine.front().detach();
  if (options_.token_weight == 0) return out;
  std::vector<at::Tensor> means;
  const auto targets = tokens_by_sample(teacher);
  for (const auto& [place, tokens] : tokens_by_sample(student)) {
    const auto target = matched(targets.at(place), tokens);
    means.push_back(compared(token_projection_->forward(tokens.tokens, *step.comm), target).mean());
  }
  const auto of_tokens = at::stack(means).mean();
  out.parts = {{"summary_loss", out.total.detach()}, {"token_loss", of_tokens.detach()}};
  out.total = out.total + options_.token_weight * of_tokens;
  return out;
}

}  // namespace sslmed::methods
