#include "methods/objective.h"

namespace sslmed::methods {

std::vector<ParameterGroup> Objective::parameter_groups() const {
  ParameterGroup decayed, plain;
  plain.decay = false;
  for (const auto& item : named_parameters()) {
    if (!item.value().requires_grad()) continue;
    // Tokens are [1, 1, D]: one vector, whatever their rank says.
    const bool vector = item.value().dim() <= 1 || item.value().numel() == item.value().size(-1);
    auto& group = vector ? plain : decayed;
    group.names.push_back(item.key());
    group.parameters.push_back(item.value());
  }
  std::vector<ParameterGroup> groups;
  if (!decayed.names.empty()) groups.push_back(std::move(decayed));
  if (!plain.names.empty()) groups.push_back(std::move(plain));
  return groups;
}

at::Tensor Objective::absent(const Step& step) {
  auto zero = parameters().front().sum() * 0;
  if (const auto owner = encoder(); owner && owner->gathers()) {
    nn::Context context;
    context.comm = step.comm;
    zero = zero + owner->absent(context);
  }
  return zero;
}

nn::PatchTokens tokens_of(const data::PackedPatches& patches) {
  nn::PatchTokens tokens;
  tokens.key = patches.key;
  tokens.values = patches.values;
  tokens.coords = patches.coords;
  tokens.channel = patches.extra;
  tokens.grid = patches.grid;
  tokens.extents = patches.extents;
  tokens.lengths = patches.lengths;
  return tokens;
}

nn::Input input_of(const data::ViewBatch& view) {
  if (const auto* patches = std::get_if<data::PackedPatches>(&view.content)) return tokens_of(*patches);
  const auto& dense = std::get<data::StackedDense>(view.content);
  return nn::DenseInput{dense.values, dense.spacing};
}

nn::Context context_of(const data::ViewBatch& view, const Step& step) {
  nn::Context context;
  context.comm = step.comm;
  context.samples = view.slots;
  return context;
}

}  // namespace sslmed::methods
