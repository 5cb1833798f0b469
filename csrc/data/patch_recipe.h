#pragma once
// Cuts channel × time samples into patches of one channel and, if asked, masks them.

#include "data/recipe.h"

namespace sslmed::data {

enum class MaskMode { kNone, kRandom, kTime, kChannel };

struct PatchRecipeOptions {
  std::int64_t patch = 200;  // samples
  MaskMode mask = MaskMode::kNone;
  double ratio = 0.5;      // of the tokens hidden
  std::int32_t block = 2;  // patches (kTime) or channels (kChannel) that are hidden together
};

class PatchRecipe : public Recipe {
 public:
  explicit PatchRecipe(const PatchRecipeOptions& options);
  std::vector<PatchView> make(Sample sample, const Draw& draw) const override;

 private:
  PatchRecipeOptions options_;
};

}  // namespace sslmed::data
