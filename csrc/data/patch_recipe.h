#pragma once
// Cuts channel × time samples into patches of one channel and, if asked, masks them. Multi-block masks see channels from the front
// of the head to its back, from left to right, so that a block of rows is a region and the order in the file does not matter.

#include "data/recipe.h"

namespace sslmed::data {

enum class MaskMode { kNone, kRandom, kBernoulli, kTime, kChannel, kSpace, kMultiblock, kMultiblockExact };

inline bool is_multiblock(MaskMode mode) { return mode == MaskMode::kMultiblock || mode == MaskMode::kMultiblockExact; }

struct PatchRecipeOptions {
  std::int64_t patch = 200;  // samples
  MaskMode mask = MaskMode::kNone;
  double ratio = 0.5;      // of the tokens hidden; not with blocks
  std::int32_t block = 2;  // patches (kTime, kSpace) or channels (kChannel) that are hidden together
  double radius = 30;      // mm: how far from its centre a block reaches over the head (kSpace)
  // A second view of each sample, which sees what the first one hides: every token is both seen and restored.
  bool complementary = false;
  std::int64_t overlap = 0;  // samples that a patch shares with the next one
};

class PatchRecipe : public Recipe {
 public:
  explicit PatchRecipe(const PatchRecipeOptions& options);
  std::vector<PatchView> make(Sample sample, const Draw& draw) const override;

 private:
  void multiblock(PatchView& view, const ElectrodeSpace& space, std::int64_t steps, const Draw& draw) const;

  PatchRecipeOptions options_;
};

}  // namespace sslmed::data
