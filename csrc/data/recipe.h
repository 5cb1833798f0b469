#pragma once
// What an objective wants of a sample: declared here, implemented by methods and tasks, run in the loader's threads.

#include <vector>

#include "core/random.h"
#include "data/sample.h"

namespace sslmed::data {

class Recipe {
 public:
  virtual ~Recipe() = default;
  // Const and model-free: called from many threads at once.
  virtual std::vector<PatchView> make(Sample sample, const Draw& draw) const = 0;
};

}  // namespace sslmed::data
