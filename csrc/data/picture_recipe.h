#pragma once
// Makes views of pictures, augmented and cut into square patches, as many and as large as a method asks for, and masks them.

#include <memory>
#include <string>
#include <vector>

#include "data/patch_recipe.h"
#include "transforms/augment.h"

namespace sslmed::data {

struct PictureView {
  std::string role = "tokens";
  std::int64_t count = 1;  // of each sample, all from one decode
  transforms::Frame frame;
  transforms::Augmentation augmentation;
  bool on_device = false;  // changes are drawn here, and made where the model is
};

struct PictureRecipeOptions {
  std::int64_t patch = 16;  // pixels
  std::vector<PictureView> views{PictureView{}};
  MaskMode mask = MaskMode::kNone;  // kNone, kRandom, kBernoulli or a multi-block mask; for one view
  double ratio = 0.75;
  bool complementary = false;
};

class PictureRecipe : public Recipe {
 public:
  explicit PictureRecipe(PictureRecipeOptions options);
  std::vector<PatchView> make(Sample sample, const Draw& draw) const override;

 private:
  PatchView view(const std::shared_ptr<const Sample>& sample, const PictureView& how, Philox& random) const;

  PictureRecipeOptions options_;
};

}  // namespace sslmed::data
