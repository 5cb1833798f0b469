#pragma once
// How samples become views: declared here, implemented by modalities, run in the loader's threads.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/view.h"

namespace sslmed::data {

// Numbers of a sample's views: those of each role count from 0 on, over all entries of a recipe.
class ViewNumbers {
 public:
  std::int32_t next(const std::string& role) { return next_[role]++; }

 private:
  std::map<std::string, std::int32_t> next_;
};

class Recipe {
 public:
  virtual ~Recipe() = default;
  // Const and model-free: called from many threads at once.
  virtual std::vector<View> make(Sample sample, const Draw& draw) const = 0;
};

}  // namespace sslmed::data
