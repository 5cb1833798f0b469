#pragma once
// Views of one sample for two encoders that cut it differently, such as a student and its teacher.

#include <memory>
#include <string>
#include <vector>

#include "data/recipe.h"

namespace sslmed::data {

class PairedRecipe : public Recipe {
 public:
  // Views of `second` get the role `role`. Both recipes make the same draws, so crops and changes that are drawn alike
  // are the same in both. ValueError for a recipe that is missing.
  PairedRecipe(std::shared_ptr<const Recipe> first, std::shared_ptr<const Recipe> second, std::string role);
  std::vector<View> make(Sample sample, const Draw& draw) const override;

 private:
  std::shared_ptr<const Recipe> first_, second_;
  std::string role_;
};

}  // namespace sslmed::data
