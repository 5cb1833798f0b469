#pragma once
// What an objective does with the blocks of its encoder, one by one: learning rates that fall towards the input, and
// residual branches that are dropped.

#include <cstdint>
#include <vector>

#include "methods/objective.h"

namespace sslmed::methods {

struct LayerRates {
  double decay = 1;        // factor of the learning rate from a block to the one before it
  double patch_embed = 1;  // a further factor, of parameters "encoder.patch_embed…" and those of other modalities
};

// The groups of an objective whose encoder is named "encoder", divided by its layers (nn::Encoder::layer_of); all other
// parameters are the last layer, whose factor is 1. Tables of positions do not decay.
std::vector<ParameterGroup> layer_groups(const std::vector<ParameterGroup>& plain, const nn::Encoder& encoder, const LayerRates& rates);

struct DropPath {
  double rate = 0;         // of the last block; it rises in a line from 0 at the first
  std::int64_t depth = 0;  // blocks, of two branches each
  std::uint64_t seed = 0;
};

// [2 * depth, B] factors of the residual branches of a view's samples (nn::Context::drop_path); undefined where the
// rate is 0. Drawn by sample, batch and `view`, so that neither ranks nor threads nor a resumed run draw otherwise.
at::Tensor drop_path_factors(const DropPath& how, const data::Batch& batch, const data::ViewBatch& views, const at::Device& device, std::uint64_t view = 0);

}  // namespace sslmed::methods
