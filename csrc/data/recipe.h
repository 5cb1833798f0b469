#pragma once
// How samples become views: declared here, implemented by modalities, run in the loader's threads.

#include <vector>

#include "core/random.h"
#include "data/view.h"

namespace sslmed::data {

class Recipe {
 public:
  virtual ~Recipe() = default;
  // Const and model-free: called from many threads at once.
  virtual std::vector<View> make(Sample sample, const Draw& draw) const = 0;
};

}  // namespace sslmed::data
