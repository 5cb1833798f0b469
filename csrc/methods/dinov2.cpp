#include "methods/dinov2.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <tuple>
#include <utility>

#include "methods/centering.h"
#include "methods/layers.h"
#include "methods/losses.h"

namespace sslmed::methods {
namespace {

void check(const DinoV2Options& options) {
  const auto within = [](const char* name, double value, double least, double most) {
    TORCH_CHECK_VALUE(value >= least && value <= most, "dinov2: ", name, "=", value, " must be within [", least, ", ", most, "]");
  };
  const auto positive = [](const char* name, double value) { TORCH_CHECK_VALUE(value > 0, "dinov2: ", name, "=", value, " must be positive"); };
  const auto at_least = [](const char* name, auto value, auto least) {
    TORCH_CHECK_VALUE(value >= least, "dinov2: ", name, "=", value, " must be at least ", least);
  };
  at_least("dino_weight", options.dino_weight, 0.0);
  at_least("ibot_weight", options.ibot_weight, 0.0);
  at_least("regularizer_weight", options.spread_weight, 0.0);
  at_least("gram_weight", options.gram_weight, 0.0);
  at_least("iterations", options.iterations, std::int64_t{1});
  at_least("gram_refresh", options.gram_refresh, std::int64_t{0});
  positive("kappa", options.kappa);
  positive("student_temperature", options.student_temperature);
  positive("teacher_temperature_start", options.teacher_temperature_start);
  positive("teacher_temperature", options.teacher_temperature);
  positive("layer_decay", options.layer_decay);
  positive("patch_embed_lr", options.patch_embed);
  within("teacher_warmup", options.teacher_warmup, 0, 1);
  within("center_momentum", options.center_momentum, 0, 1);
  within("momentum", options.momentum, 0, 1);
  within("freeze_last", options.freeze_last, 0, 1);
  within("gram_start", options.gram_start, 0, 1);
  within("layer_decay", options.layer_decay, 0, 1);
  TORCH_CHECK_VALUE(options.drop_path >= 0 && options.drop_path < 1, "dinov2: drop_path=", options.drop_path, " must be within [0, 1)");
}

std::shared_ptr<nn::VisionTransformer> twin_of(const std::shared_ptr<nn::VisionTransformer>& encoder, std::uint64_t seed) {
  TORCH_CHECK_VALUE(encoder != nullptr, "dinov2: needs an encoder");
  TORCH_CHECK_VALUE(encoder->config().class_token, "dinov2: needs an encoder with a class token; make it with class_token=True");
  return std::make_shared<nn::VisionTransformer>(encoder->config(), seed);
}

bool in_share(double share, const Step& step) { return static_cast<double>(step.number) < share * static_cast<double>(step.total); }

}  // namespace

DinoV2::DinoV2(std::shared_ptr<nn::VisionTransformer> encoder, const DinoV2Options& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("dinov2", encoder, twin_of(encoder, options.seed), std::move(recipe)), options_(options) {
  check(options);
  const auto dim = encoder->config().dim;
  const nn::PrototypeHeadConfig head{.in = dim, .hidden = options.hidden, .bottleneck = options.bottleneck, .prototypes = options.prototypes};
  const auto pair = [&](const char* name, const char* twin_name, std::uint64_t seed) {
    auto student = register_module(name, std::make_shared<nn::PrototypeHead>(head));
    auto teacher = register_module(twin_name, std::make_shared<nn::PrototypeHead>(head));
    nn::initialise(*student, seed);
    teachers_.emplace_back(*student, *teacher);
    return std::pair(std::move(student), std::move(teacher));
  };
  teachers_.emplace_back(*encoder_, *twin_);
  std::tie(head_, twin_head_) = pair("head", "twin_head", options.seed + 1);
  if (options.ibot_weight > 0) {
    if (options.shared_head) {
      patch_head_ = head_;
      twin_patch_head_ = twin_head_;
    } else {
      std::tie(patch_head_, twin_patch_head_) = pair("patch_head", "twin_patch_head", options.seed + 2);
    }
    mask_token_ = register_parameter("mask_token", at::zeros({1, dim}));
  }
  if (options.centering == Centering::kSoftmax) {
    center_ = register_buffer("center", at::zeros({options.prototypes}));
    if (options.ibot_weight > 0) patch_center_ = register_buffer("patch_center", at::zeros({options.prototypes}));
  }
  if (options.gram_weight > 0) {
    anchor_ = register_module("anchor", std::make_shared<nn::VisionTransformer>(encoder->config(), options.seed));
    anchored_ = std::make_unique<Teacher>(*twin_, *anchor_);
  }
}

nn::Input DinoV2::input(const data::ViewBatch& view, bool of_twin) const {
  auto tokens = tokens_of(view.patches("dinov2"));
  if (of_twin || view.role != "global" || options_.ibot_weight == 0) return tokens;
  tokens.hidden = view.masks("dinov2").masked;
  tokens.mask_token = mask_token_;
  return tokens;
}

at::Tensor DinoV2::drop_path(const data::Batch& batch, const data::ViewBatch& view) const {
  if (!is_training()) return {};
  const auto place = 2 * static_cast<std::uint64_t>(view.number) + (view.role == "global" ? 0 : 1);
  const DropPath how{options_.drop_path, encoder_->shape().depth, options_.seed};
  return drop_path_factors(how, batch, view, twin_->parameters().front().device(), place);
}

DinoV2::Masked DinoV2::masked_of(const Views& views) const {
  std::vector<at::Tensor> student, teacher;
  std::vector<double> weights;
  double images = 0;
  std::size_t of_twin = 0;  // the twin sees the same global views in the same order
  for (std::size_t i = 0; i < views.online.views().size(); ++i) {
    const auto& view = *views.online.views()[i];
    if (view.role != "global") continue;
    const auto& mask = view.masks("dinov2");
    student.push_back(views.online.features()[i].patches().index_select(0, mask.masked));
    teacher.push_back(views.twin.features()[of_twin++].patches().index_select(0, mask.masked));
    for (const auto count : mask.masked_lengths) weights.insert(weights.end(), static_cast<std::size_t>(count), 1 / static_cast<double>(count));
    images += static_cast<double>(mask.masked_lengths.size());
  }
  if (student.empty()) {  // a rank without samples
    const auto none = views.global.front();
    return {none, views.target.front(), at::zeros({0}, none.options().requires_grad(false))};
  }
  Masked out{at::cat(student), at::cat(teacher), {}};
  out.weights = (at::tensor(weights, at::kDouble) / images).to(out.teacher.device());
  return out;
}

at::Tensor DinoV2::answers(const at::Tensor& logits, at::Tensor& center, const Step& step) {
  const c10::NoGradGuard guard;
  const double temperature = warm_temperature(options_.teacher_temperature_start, options_.teacher_temperature, options_.teacher_warmup, step);
  if (options_.centering == Centering::kSinkhorn) {
    // On one of several ranks without rows too: the others count on it.
    if (logits.size(0) == 0 && step.comm->size() == 1) return logits;
    return sinkhorn(logits, temperature, options_.iterations, *step.comm);
  }
  const auto found = at::softmax((logits.to(center.scalar_type()) - center) / temperature, -1);
  if (is_training()) move_center(center, logits, options_.center_momentum, *step.comm);
  return found;
}

at::Tensor DinoV2::dino_of(const Views& views, const Step& step) {
  auto crops = views.global;
  crops.insert(crops.end(), views.local.begin(), views.local.end());
  const auto count = static_cast<std::int64_t>(crops.size()), rows = crops.front().size(0), prototypes = options_.prototypes;
  at::Tensor teacher;
  {
    const c10::NoGradGuard guard;
    teacher = answers(twin_head_->forward(at::cat(views.target)), center_, step);
  }
  const auto student = head_->forward(at::cat(crops));
  if (rows == 0) return student.sum();
  return dino_pairs(student.view({count, rows, prototypes}), teacher.view({2, rows, prototypes}), options_.student_temperature);
}

at::Tensor DinoV2::ibot_of(const Views& views, const Step& step) {
  const auto masked = masked_of(views);
  at::Tensor teacher;
  {
    const c10::NoGradGuard guard;
    teacher = answers(twin_patch_head_->forward(masked.teacher), patch_center_, step);
  }
  const auto student = patch_head_->forward(masked.student);
  if (student.size(0) == 0) return student.sum();
  return ibot(student, teacher, masked.weights, options_.student_temperature);
}

at::Tensor DinoV2::spread_of(const Views& views, const Step& step) const {
  at::Tensor total;
  for (const auto& crop : views.global) {
    const auto one = options_.spread == Spread::kKoleo ? koleo(crop, *step.comm) : uniformity(crop, options_.kappa, *step.comm);
    total = total.defined() ? total + one : one;
  }
  return total;
}

at::Tensor DinoV2::gram_of(const Views& views, const Step& step) const {
  std::vector<nn::Input> inputs;
  std::vector<nn::Context> contexts;
  std::vector<const nn::Features*> seen;
  for (std::size_t i = 0; i < views.online.views().size(); ++i) {
    const auto& view = *views.online.views()[i];
    if (view.role != "global") continue;
    inputs.push_back(input(view, /*of_twin=*/true));
    contexts.push_back(context_of(view, step));
    seen.push_back(&views.online.features()[i]);
  }
  if (seen.empty()) return views.global.front().sum();  // a rank without samples
  std::vector<nn::Features> anchors;
  {
    const c10::NoGradGuard guard;
    anchors = anchor_->forward_all(inputs, contexts);
  }
  at::Tensor total;
  double images = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const auto student = seen[i]->patches(), anchor = anchors[i].patches();
    for (const auto& run : nn::layout_of(seen[i]->patch_lengths())) {
      const auto block = [&](const at::Tensor& rows) {
        return rows.narrow(0, run.first_row, run.count * run.length).view({run.count, run.length, rows.size(1)});
      };
      const auto one = gram(block(student), block(anchor)) * static_cast<double>(run.count);
      total = total.defined() ? total + one : one;
      images += static_cast<double>(run.count);
    }
  }
  return total / images;
}

Loss DinoV2::loss_of(const Views& views, const Step& step) {
  TORCH_CHECK_VALUE(views.target.size() == 2, "dinov2: needs 2 views of the role 'global' of each sample, got ", views.target.size());
  Loss out;
  const auto add = [&](const char* name, const at::Tensor& part, double weight) {
    out.parts.emplace_back(name, part.detach());
    out.total = out.total.defined() ? out.total + weight * part : weight * part;
  };
  add("dino_loss", dino_of(views, step), options_.dino_weight);
  if (options_.dino_weight > 0) {  // a head that is not trained knows nothing
    out.answers = out.parts.front().second;
    out.learned_nothing = std::log(static_cast<double>(options_.prototypes));
  }
  if (options_.ibot_weight > 0) add("ibot_loss", ibot_of(views, step), options_.ibot_weight);
  if (options_.spread != Spread::kNone) {
    const char* name = options_.spread == Spread::kKoleo ? "koleo_loss" : "uniformity_loss";
    add(name, spread_of(views, step), options_.spread_weight);
  }
  if (anchor_ && !in_share(options_.gram_start, step)) add("gram_loss", gram_of(views, step), options_.gram_weight);
  return out;
}

std::vector<ParameterGroup> DinoV2::parameter_groups() const {
  return layer_groups(Objective::parameter_groups(), *encoder_, {options_.layer_decay, options_.patch_embed});
}

void DinoV2::after_backward(const Step& step) {
  if (!in_share(options_.freeze_last, step)) return;
  head_->prototypes().mutable_grad().reset();
  if (patch_head_) patch_head_->prototypes().mutable_grad().reset();
}

bool DinoV2::refreshes(const Step& step, std::int64_t number) const {
  const auto first = static_cast<std::int64_t>(std::ceil(options_.gram_start * static_cast<double>(step.total)));
  if (number == first) return true;
  return options_.gram_refresh > 0 && number > first && (number - first) % options_.gram_refresh == 0;
}

void DinoV2::after_step(const Step& step) {
  for (auto& teacher : teachers_) teacher.update(cosine_momentum(options_.momentum, step.number, step.total));
  if (anchored_ && refreshes(step, step.number + 1)) anchored_->update(0);
}

}  // namespace sslmed::methods
