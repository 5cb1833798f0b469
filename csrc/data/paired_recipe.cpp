#include "data/paired_recipe.h"

#include <iterator>
#include <utility>

#include "core/error.h"

namespace sslmed::data {

PairedRecipe::PairedRecipe(std::shared_ptr<const Recipe> first, std::shared_ptr<const Recipe> second, std::string role)
    : first_(std::move(first)), second_(std::move(second)), role_(std::move(role)) {
  if (!first_ || !second_) throw ValueError("PairedRecipe: needs two recipes");
}

std::vector<View> PairedRecipe::make(Sample sample, const Draw& draw) const {
  auto views = first_->make(sample, draw);
  auto others = second_->make(std::move(sample), draw);
  for (auto& view : others) view.role = role_;
  views.insert(views.end(), std::make_move_iterator(others.begin()), std::make_move_iterator(others.end()));
  return views;
}

}  // namespace sslmed::data
