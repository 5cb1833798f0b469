#include "methods/simclr.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {

SimClr::SimClr(std::shared_ptr<nn::Encoder> encoder, const SimClrOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("simclr", std::move(encoder), nullptr, std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.temperature > 0, "simclr: temperature=", options.temperature, " must be positive");
  const auto dim = encoder_->shape().dim;
  projector_ = register_module("projector", std::make_shared<nn::MlpHead>(nn::MlpHeadConfig{
                                                .in = dim,
                                                .hidden = options.hidden > 0 ? options.hidden : dim,
                                                .out = options.out,
                                                .layers = options.layers,
                                                .last_norm = true,
                                            }));
  nn::initialise(*projector_, options.seed + 1);
}

Loss SimClr::loss_of(const Views& views, const Step& step) {
  // One pass, so that batch normalization has the statistics of all views.
  const auto rows = projector_->forward(at::cat(views.global), *step.comm).chunk(static_cast<std::int64_t>(views.global.size()));
  Loss out;
  out.total = mean_over_pairs(rows.size(), [&](std::size_t i, std::size_t j) { return nt_xent(rows[i], rows[j], options_.temperature, *step.comm); });
  return out;
}

}  // namespace sslmed::methods
