#pragma once
// Makes views of a session's volumes, cut into patches of anatomy, or dense.

#include <array>
#include <string>
#include <vector>

#include "data/recipe.h"
#include "masking/masker.h"
#include "transforms/volume_intensity.h"
#include "transforms/volume_spatial.h"

namespace sslmed::volume {

// No change at all: the options' own defaults are TorchIO's probabilities.
inline transforms::VolumeSpatialOptions nothing_spatial() {
  transforms::VolumeSpatialOptions out;
  out.p_flip = {0, 0, 0};
  out.p_affine = out.p_elastic = out.p_anisotropy = 0;
  return out;
}

struct VolumeView {
  std::string role = "tokens";
  std::int64_t count = 1;              // of each sample; numbered from 0
  std::array<std::int64_t, 3> size{};  // cells; 0: `share` of the axis
  bool random = false;                 // views from anywhere of the region; otherwise from its middle
  // Changes of the whole region, whose window is the view; its `window` and `fill` are not looked at.
  transforms::VolumeSpatialOptions spatial = nothing_spatial();
  transforms::VolumeIntensityOptions intensity;  // of each sequence by itself
  double p_drop = 0;                             // probability that a sequence is left out; one stays
  masking::MaskOptions mask;
  std::array<std::int64_t, 3> mask_cell{16, 16, 16};  // cells of what is masked together in dense views
  double share = 1;                                   // of each axis without a size that a view shows
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
