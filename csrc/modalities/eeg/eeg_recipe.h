#pragma once
// Makes views of channel × time samples: parts of a window, changed at random, cut into patches of one channel or left
// dense, and, if asked, masked. Multi-block masks and rectangles see channels from the front of the head to its back, from
// left to right, so that a block of rows is a region and the order in the file does not matter.

#include <string>
#include <vector>

#include "data/recipe.h"
#include "masking/masker.h"
#include "transforms/signal_augment.h"

namespace sslmed::eeg {

struct EegView {
  std::string role = "tokens";
  std::int64_t count = 1;   // of each sample; numbered from 0
  std::int64_t length = 0;  // samples of the window, from anywhere of it; 0: all of them
  transforms::SignalAugmentation augmentation;
  // Blocks count patches in time and channels; radii are over the head. Dense views: kNone, kRandom, kBernoulli or kTime.
  masking::MaskOptions mask;
};

struct EegRecipeOptions {
  std::int64_t patch = 200;  // samples; 0: dense views [channels, time]
  std::int64_t overlap = 0;  // samples that a patch shares with the next one
  std::vector<EegView> views{EegView{}};
  std::int64_t mask_cell = 200;  // samples that are masked together in dense views
};

class EegRecipe : public data::Recipe {
 public:
  // ValueError that names the parameter.
  explicit EegRecipe(EegRecipeOptions options);
  // Times count from a view's own start. Of patches, dropped channels are left out; in dense views they are zero.
  std::vector<data::View> make(data::Sample sample, const Draw& draw) const override;

 private:
  void check_view(const EegView& view) const;
  data::Patches patches(const data::Array& array, std::vector<float> values, std::int64_t length, const std::vector<std::uint8_t>& kept) const;
  masking::Mask mask(const data::Patches& patches, const masking::MaskOptions& how, const Draw& draw) const;

  EegRecipeOptions options_;
};

}  // namespace sslmed::eeg
