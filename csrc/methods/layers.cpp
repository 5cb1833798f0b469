#include "methods/layers.h"

#include <ATen/Functions.h>

#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "core/random.h"

namespace sslmed::methods {
namespace {

constexpr std::string_view kOwn = "encoder.";  // before the names of the encoder's parameters

// Tables of positions are no matrices (timm).
bool is_position_table(const std::string& name) { return name.ends_with("pos_embed") || name.ends_with("relative_position_bias_table"); }

}  // namespace

std::vector<ParameterGroup> layer_groups(const std::vector<ParameterGroup>& plain, const nn::Encoder& encoder, const LayerRates& rates) {
  const auto depth = encoder.shape().depth;
  std::map<std::tuple<std::int64_t, bool, bool>, ParameterGroup> groups;
  for (const auto& given : plain) {
    for (std::size_t i = 0; i < given.names.size(); ++i) {
      const auto& name = given.names[i];
      const bool of_encoder = name.starts_with(kOwn);
      const auto layer = of_encoder ? encoder.layer_of(name.substr(kOwn.size())) : depth + 1;
      const bool decay = given.decay && !(of_encoder && is_position_table(name));
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
