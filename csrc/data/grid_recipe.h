#pragma once
// Views of arrays on a regular grid of any rank: cropped, flipped, cut into patches or left dense, and masked. Targets follow.

#include <string>
#include <vector>

#include "data/recipe.h"
#include "masking/masker.h"

namespace sslmed::data {

struct GridView {
  std::string role = "tokens";
  std::int64_t count = 1;           // of each sample; numbered from 0
  std::vector<std::int64_t> patch;  // cells of a token along each axis; empty: a dense view
  std::vector<std::int64_t> crop;   // cells along each axis; empty: the whole array
  bool random = true;               // crops from anywhere; otherwise from the middle
  std::vector<double> p_flip;       // probability of a flip along each axis; empty: none
  masking::MaskOptions mask;        // of patches, or of cells of `mask_cell` cells over a dense view
  std::vector<std::int64_t> mask_cell;
};

class GridRecipe : public Recipe {
 public:
  // ValueError that names the parameter.
  explicit GridRecipe(std::vector<GridView> views);
  std::vector<View> make(Sample sample, const Draw& draw) const override;

 private:
  View view(const Array& array, const Targets& targets, const GridView& how, Philox& random) const;

  std::vector<GridView> views_;
};

}  // namespace sslmed::data
