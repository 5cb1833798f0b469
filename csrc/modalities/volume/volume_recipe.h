#pragma once
// Makes views of a session's volumes, cut into patches of anatomy, or dense.

#include <array>
#include <string>
#include <vector>

#include "data/recipe.h"
#include "masking/masker.h"

namespace sslmed::volume {

struct VolumeView {
  std::string role = "tokens";
  std::int64_t count = 1;              // of each sample; numbered from 0
  std::array<std::int64_t, 3> size{};  // cells; 0: all of the axis
  bool random = false;                 // views from anywhere of the region; otherwise from its middle
  std::array<double, 3> p_flip{};      // probability of a flip along each axis
  double p_drop = 0;                   // probability that a sequence is left out; one stays
  masking::MaskOptions mask;
};

struct VolumeRecipeOptions {
  std::vector<std::int64_t> patch;  // cells of a token along each axis; empty: dense views
  double anatomy = 0.05;            // share of a patch that the mask covers at least: others are no tokens
  std::vector<VolumeView> views{VolumeView{}};
};

class VolumeRecipe : public data::Recipe {
 public:
  // ValueError that names the parameter.
  explicit VolumeRecipe(VolumeRecipeOptions options);
  // Patches of all sequences are tokens of one view; a patch that was changed for anonymity is none. Dense views have a channel a sequence.
  std::vector<data::View> make(data::Sample sample, const Draw& draw) const override;

 private:
  VolumeRecipeOptions options_;
};

}  // namespace sslmed::volume
