#include "methods/twin_prediction.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <utility>

namespace sslmed::methods {

TwinPrediction::TwinPrediction(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, nn::MlpHeadConfig projector,
                               const nn::MlpHeadConfig& predictor, double momentum, std::uint64_t seed, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding(std::move(name), std::move(encoder), std::move(twin), std::move(recipe)), momentum_(momentum) {
  TORCH_CHECK_VALUE(momentum >= 0 && momentum <= 1, name_, ": momentum=", momentum, " must be within [0, 1]");
  projector.in = encoder_->shape().dim;
  projector_ = register_module("projector", std::make_shared<nn::MlpHead>(projector));
  predictor_ = register_module("predictor", std::make_shared<nn::MlpHead>(predictor));
  twin_projector_ = register_module("twin_projector", std::make_shared<nn::MlpHead>(projector));
  nn::initialise(*projector_, seed + 1);
  nn::initialise(*predictor_, seed + 2);
  teachers_.emplace_back(*encoder_, *twin_);
  teachers_.emplace_back(*projector_, *twin_projector_);
}

Loss TwinPrediction::loss_of(const Views& views, const Step& step) {
  const auto count = static_cast<std::int64_t>(views.global.size());
  // One pass, so that batch normalization has the statistics of all views.
  const auto predicted = predictor_->forward(projector_->forward(at::cat(views.global), *step.comm), *step.comm).chunk(count);
  std::vector<at::Tensor> targets;
  {
    const c10::NoGradGuard guard;
    targets = twin_projector_->forward(at::cat(views.target), *step.comm).chunk(count);
  }
  Loss out;
  out.total = mean_over_pairs(predicted.size(), [&](std::size_t i, std::size_t j) {
    return compared(predicted[i], targets[j], *step.comm) + compared(predicted[j], targets[i], *step.comm);
  });
  return out;
}

void TwinPrediction::after_step(const Step& step) {
  for (auto& teacher : teachers_) teacher.update(cosine_momentum(momentum_, step.number, step.total));
}

}  // namespace sslmed::methods
