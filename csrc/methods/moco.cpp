#include "methods/moco.h"

#include <c10/util/Exception.h>

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {
namespace {

bool embeds_patches(const std::string& name) { return name.find("patch_embed") != std::string::npos; }

}  // namespace

Moco::Moco(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const MocoOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : TwinPrediction("moco", std::move(encoder), std::move(twin), {.hidden = options.hidden, .out = options.out, .layers = 3, .last_norm = true},
                     {.in = options.out, .hidden = options.hidden, .out = options.out, .last_norm = true}, options.momentum, options.seed, std::move(recipe)),
      options_(options) {
  TORCH_CHECK_VALUE(options.temperature > 0, "moco: temperature=", options.temperature, " must be positive");
}

at::Tensor Moco::compared(const at::Tensor& predicted, const at::Tensor& target, const nn::Comm& comm) const {
  return info_nce(predicted, target, options_.temperature, comm);
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

}  // namespace sslmed::methods
