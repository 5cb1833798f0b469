#pragma once
// Several modalities as one: a source whose recordings come from sources of their own, and a recipe that asks the one of each sample's modality.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/recipe.h"
#include "data/source.h"

namespace sslmed::data {

class JoinedSource : public Source {
 public:
  // part_of [recordings]: which source each recording is of; those of one source come in its own order. ValueError where counts do not fit.
  JoinedSource(std::vector<std::shared_ptr<const Source>> sources, std::vector<std::int32_t> part_of);

  std::int64_t size() const override { return first_.back(); }
  SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override { return first_; }
  Sample sample(std::int64_t index, const Draw& draw) const override;

 private:
  struct Found {
    const Source& source;
    std::int64_t recording, index;  // here, and the sample there
  };
  Found find(std::int64_t index) const;

  std::vector<std::shared_ptr<const Source>> sources_;
  std::vector<std::int32_t> part_of_;
  std::vector<std::int64_t> first_, first_there_;  // samples of each recording here, and the first of them there
};

class JoinedRecipe : public Recipe {
 public:
  explicit JoinedRecipe(std::map<std::string, std::shared_ptr<const Recipe>> by_modality);
  // ValueError for a sample of another modality, or of several.
  std::vector<View> make(Sample sample, const Draw& draw) const override;

 private:
  std::map<std::string, std::shared_ptr<const Recipe>> by_modality_;
};

}  // namespace sslmed::data
