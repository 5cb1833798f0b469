#include "methods/moco.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {
namespace {

bool embeds_patches(const std::string& name) { return name.find("patch_embed") != std::string::npos; }

}  // namespace

Moco::Moco(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const MocoOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("moco", std::move(encoder), std::move(twin), std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.temperature > 0, "moco: temperature=", options.temperature, " must be positive");
  TORCH_CHECK_VALUE(options.momentum >= 0 && options.momentum <= 1, "moco: momentum=", options.momentum, " must be within [0, 1]");
  const nn::MlpHeadConfig projector{.in = encoder_->shape().dim, .hidden = options.hidden, .out = options.out, .layers = 3, .last_norm = true};
  const nn::MlpHeadConfig predictor{.in = options.out, .hidden = options.hidden, .out = options.out, .last_norm = true};
  projector_ = register_module("projector", std::make_shared<nn::MlpHead>(projector));
  predictor_ = register_module("predictor", std::make_shared<nn::MlpHead>(predictor));
  twin_projector_ = register_module("twin_projector", std::make_shared<nn::MlpHead>(projector));
  nn::initialise(*projector_, options.seed + 1);
  nn::initialise(*predictor_, options.seed + 2);
  teachers_.emplace_back(*encoder_, *twin_);
  teachers_.emplace_back(*projector_, *twin_projector_);
}

Loss Moco::loss_of(const Views& views, const Step& step) {
  const auto count = static_cast<std::int64_t>(views.global.size());
  const auto queries = predictor_->forward(projector_->forward(at::cat(views.global), *step.comm), *step.comm).chunk(count);
  std::vector<at::Tensor> keys;
  {
    const c10::NoGradGuard guard;
    keys = twin_projector_->forward(at::cat(views.target), *step.comm).chunk(count);
  }
  Loss out;
  double pairs = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (std::size_t j = i + 1; j < queries.size(); ++j, ++pairs) {
      const auto one = info_nce(queries[i], keys[j], options_.temperature, *step.comm) + info_nce(queries[j], keys[i], options_.temperature, *step.comm);
      out.total = out.total.defined() ? out.total + one : one;
    }
  }
  out.total = out.total / pairs;
  return out;
}

std::vector<ParameterGroup> Moco::parameter_groups() const {
  auto groups = Objective::parameter_groups();
  if (!options_.freeze_patches) return groups;
  for (auto& group : groups) {
    ParameterGroup kept{{}, {}, group.lr_scale, group.decay};
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      if (embeds_patches(group.names[i])) continue;
      kept.names.push_back(group.names[i]);
      kept.parameters.push_back(group.parameters[i]);
    }
    group = std::move(kept);
  }
  return groups;
}

void Moco::after_step(const Step& step) {
  for (auto& teacher : teachers_) teacher.update(cosine_momentum(options_.momentum, step.number, step.total));
}

}  // namespace sslmed::methods
