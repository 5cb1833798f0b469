#include "methods/byol.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {

Byol::Byol(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const ByolOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("byol", std::move(encoder), std::move(twin), std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.momentum >= 0 && options.momentum <= 1, "byol: momentum=", options.momentum, " must be within [0, 1]");
  const nn::MlpHeadConfig projector{.in = encoder_->shape().dim, .hidden = options.hidden, .out = options.out};
  const nn::MlpHeadConfig predictor{.in = options.out, .hidden = options.hidden, .out = options.out};
  projector_ = register_module("projector", std::make_shared<nn::MlpHead>(projector));
  predictor_ = register_module("predictor", std::make_shared<nn::MlpHead>(predictor));
  twin_projector_ = register_module("twin_projector", std::make_shared<nn::MlpHead>(projector));
  nn::initialise(*projector_, options.seed + 1);
  nn::initialise(*predictor_, options.seed + 2);
  teachers_.emplace_back(*encoder_, *twin_);
  teachers_.emplace_back(*projector_, *twin_projector_);
}

Loss Byol::loss_of(const Views& views, const Step& step) {
  const auto count = static_cast<std::int64_t>(views.global.size());
  const auto predicted = predictor_->forward(projector_->forward(at::cat(views.global), *step.comm), *step.comm).chunk(count);
  std::vector<at::Tensor> targets;
  {
    const c10::NoGradGuard guard;
    targets = twin_projector_->forward(at::cat(views.target), *step.comm).chunk(count);
  }
  Loss out;
  if (predicted.front().size(0) == 0) {  // a rank without samples
    out.total = predicted.front().sum();
    return out;
  }
  double pairs = 0;
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    for (std::size_t j = i + 1; j < predicted.size(); ++j, ++pairs) {
      const auto one = byol(predicted[i], targets[j]) + byol(predicted[j], targets[i]);
      out.total = out.total.defined() ? out.total + one : one;
    }
  }
  out.total = out.total / pairs;
  return out;
}

void Byol::after_step(const Step& step) {
  for (auto& teacher : teachers_) teacher.update(cosine_momentum(options_.momentum, step.number, step.total));
}

}  // namespace sslmed::methods
