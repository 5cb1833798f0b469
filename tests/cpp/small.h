#pragma once
// Small recipes and batches of FakeSource and RampSource: for tests of what is made of them.
#include <memory>
#include <vector>

#include "data/batch.h"
#include "data/grid_recipe.h"
#include "fake_source.h"
#include "modalities/eeg/eeg_recipe.h"
#include "toy/ramp_source.h"

namespace sslmed::testing {

inline std::shared_ptr<const eeg::EegRecipe> eeg_recipe(const masking::MaskOptions& mask = {masking::Mode::kRandom, 0.5, 2}) {
  return std::make_shared<const eeg::EegRecipe>(eeg::EegRecipeOptions{8, 0, {{"tokens", 1, 0, {}, mask}}});
}

inline std::shared_ptr<const data::GridRecipe> ramp_recipe(const masking::MaskOptions& mask = {masking::Mode::kRandom, 0.5}) {
  data::GridView view;
  view.patch = {4, 4, 4};
  view.mask = mask;
  return std::make_shared<const data::GridRecipe>(std::vector<data::GridView>{view});
}

// Views of samples [0, n) of each source, one batch.
inline data::Batch batch_of(const std::vector<std::pair<const data::Source*, const data::Recipe*>>& parts, std::int64_t n) {
  std::vector<std::vector<data::View>> views;
  std::vector<std::int64_t> ids;
  for (const auto& [source, recipe] : parts) {
    for (std::int64_t i = 0; i < n; ++i) {
      const Draw draw{0, 0, ids.size()};
      views.push_back(recipe->make(source->sample(i, draw), draw));
      ids.push_back(static_cast<std::int64_t>(ids.size()));
    }
  }
  return data::assemble(0, std::move(ids), std::move(views), *data::BufferPool::make(2));
}

}  // namespace sslmed::testing
