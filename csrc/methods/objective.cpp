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

nn::PatchTokens tokens_of(const data::PatchBatch& batch) {
  nn::PatchTokens tokens;
  tokens.values = batch.values;
  tokens.coords = batch.coords;
  tokens.channel = batch.extra;
  tokens.grid = batch.grid;
  tokens.lengths = batch.lengths;
  return tokens;
}

}  // namespace sslmed::methods
