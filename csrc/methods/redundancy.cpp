#include "methods/redundancy.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {
namespace {

// Each view through the projector by itself, as both papers do: batch normalization has the statistics of one view.
std::vector<at::Tensor> projected(const nn::MlpHead& projector, const std::vector<at::Tensor>& views, const nn::Comm& comm) {
  std::vector<at::Tensor> out;
  for (const auto& view : views) out.push_back(projector.forward(view, comm));
  return out;
}

}  // namespace

VicReg::VicReg(std::shared_ptr<nn::Encoder> encoder, const VicRegOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("vicreg", std::move(encoder), nullptr, std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.invariance >= 0 && options.variance >= 0 && options.covariance >= 0, "vicreg: weights must not be negative, got ",
                    options.invariance, ", ", options.variance, " and ", options.covariance);
  projector_ = register_module(
      "projector", std::make_shared<nn::MlpHead>(nn::MlpHeadConfig{.in = encoder_->shape().dim, .hidden = options.hidden, .out = options.out, .layers = 3}));
  nn::initialise(*projector_, options.seed + 1);
}

Loss VicReg::loss_of(const Views& views, const Step& step) {
  const auto rows = projected(*projector_, views.global, *step.comm);
  Loss out;
  out.total = mean_over_pairs(rows.size(), [&](std::size_t i, std::size_t j) {
    return vicreg(rows[i], rows[j], {options_.invariance, options_.variance, options_.covariance}, *step.comm);
  });
  return out;
}

BarlowTwins::BarlowTwins(std::shared_ptr<nn::Encoder> encoder, const BarlowTwinsOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("barlow_twins", std::move(encoder), nullptr, std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.off_diagonal >= 0, "barlow_twins: off_diagonal=", options.off_diagonal, " must not be negative");
  projector_ = register_module(
      "projector", std::make_shared<nn::MlpHead>(nn::MlpHeadConfig{.in = encoder_->shape().dim, .hidden = options.hidden, .out = options.out, .layers = 3}));
  nn::initialise(*projector_, options.seed + 1);
}

Loss BarlowTwins::loss_of(const Views& views, const Step& step) {
  const auto rows = projected(*projector_, views.global, *step.comm);
  Loss out;
  out.total = mean_over_pairs(rows.size(), [&](std::size_t i, std::size_t j) { return barlow_twins(rows[i], rows[j], options_.off_diagonal, *step.comm); });
  return out;
}

}  // namespace sslmed::methods
