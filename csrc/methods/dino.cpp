#include "methods/dino.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

#include "methods/centering.h"
#include "methods/losses.h"

namespace sslmed::methods {
namespace {

void check(const DinoOptions& options) {
  const auto within = [](const char* name, double value, double least, double most) {
    TORCH_CHECK_VALUE(value >= least && value <= most, "dino: ", name, "=", value, " must be within [", least, ", ", most, "]");
  };
  const auto positive = [](const char* name, double value) { TORCH_CHECK_VALUE(value > 0, "dino: ", name, "=", value, " must be positive"); };
  positive("student_temperature", options.student_temperature);
  positive("teacher_temperature_start", options.teacher_temperature_start);
  positive("teacher_temperature", options.teacher_temperature);
  within("teacher_warmup", options.teacher_warmup, 0, 1);
  within("center_momentum", options.center_momentum, 0, 1);
  within("momentum", options.momentum, 0, 1);
  within("freeze_last", options.freeze_last, 0, 1);
}

}  // namespace

Dino::Dino(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const DinoOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("dino", std::move(encoder), std::move(twin), std::move(recipe)), options_(options) {
  check(options);
  const nn::PrototypeHeadConfig head{.in = encoder_->shape().dim, .hidden = options.hidden, .bottleneck = options.bottleneck, .prototypes = options.prototypes};
  head_ = register_module("head", std::make_shared<nn::PrototypeHead>(head));
  twin_head_ = register_module("twin_head", std::make_shared<nn::PrototypeHead>(head));
  center_ = register_buffer("center", at::zeros({options.prototypes}));
  nn::initialise(*head_, options.seed + 1);
  teachers_.emplace_back(*encoder_, *twin_);
  teachers_.emplace_back(*head_, *twin_head_);
}

Loss Dino::loss_of(const Views& views, const Step& step) {
  TORCH_CHECK_VALUE(views.target.size() == 2, "dino: needs 2 views of the role 'global' of each sample, got ", views.target.size());
  at::Tensor teacher;
  {
    const c10::NoGradGuard guard;
    teacher = twin_head_->forward(at::cat(views.target));  // [2B, K]
  }
  auto crops = views.global;
  crops.insert(crops.end(), views.local.begin(), views.local.end());
  const auto count = static_cast<std::int64_t>(crops.size()), rows = crops.front().size(0);
  const auto student = head_->forward(at::cat(crops));
  const auto prototypes = options_.prototypes;
  const auto temperature = warm_temperature(options_.teacher_temperature_start, options_.teacher_temperature, options_.teacher_warmup, step);
  Loss out;
  if (rows == 0) {
    out.total = student.sum();  // a rank without samples
  } else {
    out.total = dino(student.view({count, rows, prototypes}), teacher.view({2, rows, prototypes}), center_, options_.student_temperature, temperature);
  }
  out.learned_nothing = std::log(static_cast<double>(prototypes));
  // After the loss, as in the paper's code: a batch is not centered by itself.
  if (is_training()) move_center(center_, teacher, options_.center_momentum, *step.comm);
  return out;
}

void Dino::after_backward(const Step& step) {
  if (static_cast<double>(step.number) < options_.freeze_last * static_cast<double>(step.total)) head_->prototypes().mutable_grad().reset();
}

void Dino::after_step(const Step& step) {
  for (auto& teacher : teachers_) teacher.update(cosine_momentum(options_.momentum, step.number, step.total));
}

}  // namespace sslmed::methods
