#include "methods/layers.h"

#include <ATen/Functions.h>

#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "core/random.h"

namespace sslmed::methods {
namespace {

std::int64_t layer_of(const std::string& name, std::int64_t depth) {
  const std::string blocks = "encoder.blocks.";
  if (name.starts_with(blocks)) return std::stoll(name.substr(blocks.size())) + 1;
  if (name.starts_with("encoder.norm.")) return depth;
  return name.starts_with("encoder.") ? 0 : depth + 1;
}

}  // namespace

std::vector<ParameterGroup> layer_groups(const std::vector<ParameterGroup>& plain, std::int64_t depth, const LayerRates& rates) {
  std::map<std::tuple<std::int64_t, bool, bool>, ParameterGroup> groups;
  for (const auto& given : plain) {
    for (std::size_t i = 0; i < given.names.size(); ++i) {
      const auto& name = given.names[i];
      const auto layer = layer_of(name, depth);
      const bool of_encoder = name.starts_with("encoder.");
      const bool decay = given.decay && !(of_encoder && name.ends_with("pos_embed"));  // a table of positions is no matrix (timm)
      const bool patch = rates.patch_embed != 1 && of_encoder && name.find("patch_embed") != std::string::npos;
      auto& group = groups[{layer, patch, decay}];
      group.lr_scale = std::pow(rates.decay, static_cast<double>(depth + 1 - layer)) * (patch ? rates.patch_embed : 1);
      group.decay = decay;
      group.names.push_back(name);
      group.parameters.push_back(given.parameters[i]);
    }
  }
  std::vector<ParameterGroup> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

at::Tensor drop_path_factors(const DropPath& how, const data::Batch& batch, const data::ViewBatch& views, const at::Device& device, std::uint64_t view) {
  if (how.rate == 0) return {};
  const auto n = static_cast<std::int64_t>(views.slots.size());
  const auto keep = at::empty({2 * how.depth, n}, at::kFloat);
  auto* const factors = keep.data_ptr<float>();
  for (std::int64_t b = 0; b < n; ++b) {
    const auto id = batch.sample_ids[static_cast<std::size_t>(views.slots[static_cast<std::size_t>(b)])];
    Philox random({how.seed, batch.number, static_cast<std::uint64_t>(id) + (view << 48)}, Stream::kDropPath);
    for (std::int64_t branch = 0; branch < 2 * how.depth; ++branch) {
      const double rate = how.depth > 1 ? how.rate * static_cast<double>(branch / 2) / static_cast<double>(how.depth - 1) : how.rate;
      factors[branch * n + b] = random.uniform() < rate ? 0 : static_cast<float>(1 / (1 - rate));
    }
  }
  return keep.to(device);
}

}  // namespace sslmed::methods
