#pragma once
// What is to be predicted of a sample: numbers, and label maps, points or boxes that follow its geometry.

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "transforms/geometry.h"

namespace sslmed::data {

constexpr std::int32_t kUnlabeled = -1;  // a label map's value where nothing is known: outside of the sample

struct LabelMap {
  std::vector<std::int64_t> shape;    // cells along each axis, those of the sample's array
  std::vector<std::int32_t> classes;  // [shape…]
};

struct Points {
  std::int64_t rank = 0;
  std::vector<float> places;          // [n, rank] in cells
  std::vector<std::int32_t> classes;  // [n]
};

struct Boxes {
  std::int64_t rank = 0;
  std::vector<float> edges;           // [n, 2, rank] lowest and highest corner in cells
  std::vector<std::int32_t> classes;  // [n]
};

using Target = std::variant<double, LabelMap, Points, Boxes>;
using Targets = std::map<std::string, Target>;

// The targets of a sample as they lie in a view made of it; numbers stay. Points outside of the view are left out; of boxes stays what is inside, as long as
// it has an extent along every axis. ValueError where a label map or its rank does not fit the geometry's source.
Targets moved(const Targets& targets, const transforms::Geometry& geometry);

}  // namespace sslmed::data
