#pragma once
// Makes views of pictures, augmented and cut into square patches or left dense, as many and as large as a method asks for, and masks them.

#include <memory>
#include <string>
#include <vector>

#include "data/recipe.h"
#include "masking/masker.h"
#include "transforms/augment.h"
#include "transforms/geometry.h"

namespace sslmed::picture {

struct PictureView {
  std::string role = "tokens";
  std::int64_t count = 1;  // of each sample, all from one decode; numbered from 0
  transforms::Frame frame;
  transforms::Augmentation augmentation;
  bool on_device = false;       // changes are drawn here, and made where the model is
  masking::MaskOptions mask;    // kNone, kRandom, kBernoulli, kBlock or a multi-block mask
  std::int64_t mask_cell = 32;  // pixels of what is masked together in dense views
};

struct PictureRecipeOptions {
  std::int64_t patch = 16;  // pixels; 0: dense views [3, height, width]
  std::vector<PictureView> views{PictureView{}};
};

class PictureRecipe : public data::Recipe {
 public:
  // ValueError that names the parameter.
  explicit PictureRecipe(PictureRecipeOptions options);
  std::vector<data::View> make(data::Sample sample, const Draw& draw) const override;

 private:
  data::View view(const std::shared_ptr<const data::Array>& picture, const data::Targets& targets, const PictureView& how, Philox& random) const;
  data::Patches patches(const std::shared_ptr<const data::Array>& picture, const transforms::AugmentPlan& plan, bool on_device) const;

  PictureRecipeOptions options_;
};

// Where a plan's result lies in a picture of this size, as all that has places follows it: rows, then columns.
transforms::Geometry geometry_of(const transforms::AugmentPlan& plan, std::int64_t width, std::int64_t height);

}  // namespace sslmed::picture
