#pragma once
// Cuts channel × time samples into patches of one channel and, if asked, masks them. Multi-block masks see channels from the front
// of the head to its back, from left to right, so that a block of rows is a region and the order in the file does not matter.

#include "data/recipe.h"
#include "masking/masker.h"

namespace sslmed::eeg {

struct EegRecipeOptions {
  std::int64_t patch = 200;   // samples
  std::int64_t overlap = 0;   // samples that a patch shares with the next one
  masking::MaskOptions mask;  // blocks count patches in time and channels; radii are over the head
};

class EegRecipe : public data::Recipe {
 public:
  // ValueError that names the parameter.
  explicit EegRecipe(const EegRecipeOptions& options);
  std::vector<data::View> make(data::Sample sample, const Draw& draw) const override;

 private:
  masking::Mask mask(const data::Patches& patches, const data::ChannelSpace& space, const Draw& draw) const;

  EegRecipeOptions options_;
};

}  // namespace sslmed::eeg
