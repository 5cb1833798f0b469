#include "methods/metadata_contrast.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {

MetadataContrast::MetadataContrast(std::shared_ptr<nn::Encoder> encoder, const MetadataContrastOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : JointEmbedding("y_aware", std::move(encoder), nullptr, std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(!options.targets.empty(), "y_aware: target must name at least one column");
  TORCH_CHECK_VALUE(options.sigmas.size() == options.targets.size(), "y_aware: sigma has ", options.sigmas.size(), " numbers, expected one for each of ",
                    options.targets.size(), " columns of target");
  for (const auto sigma : options.sigmas)
    TORCH_CHECK_VALUE(sigma > 0 && std::isfinite(sigma), "y_aware: sigma=", sigma, " must be positive, in the column's unit");
  TORCH_CHECK_VALUE(options.temperature > 0, "y_aware: temperature=", options.temperature, " must be positive");
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

at::Tensor MetadataContrast::metadata_of(const Views& views) const {
  const auto options = at::TensorOptions().dtype(at::kDouble).device(views.global.front().device());
  const auto rows = static_cast<std::int64_t>(views.slots.size()), columns = static_cast<std::int64_t>(options_.targets.size());
  if (views.batch == nullptr) return at::zeros({0, columns}, options);
  const auto slots = at::tensor(views.slots, at::kLong);
  auto out = at::empty({rows, columns}, at::kDouble);  // half precision of features would round ages
  for (std::size_t i = 0; i < options_.targets.size(); ++i) {
    const auto& name = options_.targets[i];
    const auto found = views.batch->targets.find(name);
    TORCH_CHECK_VALUE(found != views.batch->targets.end(), "y_aware: the samples have no target '", name,
                      "'; give the loader targets, or train by pretrain(), which takes them from the cohort's table");
    out.select(1, static_cast<std::int64_t>(i)).copy_(found->second.index_select(0, slots) / options_.sigmas[i]);
  }
  return out.to(options);
}

Loss MetadataContrast::loss_of(const Views& views, const Step& step) {
  const auto metadata = metadata_of(views);
  // One pass, so that batch normalization has the statistics of all views.
  const auto rows = projector_->forward(at::cat(views.global), *step.comm).chunk(static_cast<std::int64_t>(views.global.size()));
  const auto of = options_.kernel == MetadataKernel::kYAware ? y_aware : l_exp;
  Loss out;
  out.total =
      mean_over_pairs(rows.size(), [&](std::size_t i, std::size_t j) { return of(rows[i], rows[j], metadata, /*sigma=*/1, options_.temperature, *step.comm); });
  return out;
}

}  // namespace sslmed::methods
