#include "metrics/components.h"

#include <cstdlib>
#include <vector>

namespace sslmed::metrics {
namespace {

// A forest in which a component's root is its first cell's number (Hoshen and Kopelman, Phys. Rev. B 14, 1976).
struct Forest {
  std::vector<std::int32_t> parent{0};

  std::int32_t root(std::int32_t i) {
    auto at = static_cast<std::size_t>(i);
    while (parent[at] != static_cast<std::int32_t>(at)) {
      parent[at] = parent[static_cast<std::size_t>(parent[at])];
      at = static_cast<std::size_t>(parent[at]);
    }
    return static_cast<std::int32_t>(at);
  }
  std::int32_t join(std::int32_t a, std::int32_t b) {
    const auto i = root(a), j = root(b);
    const auto low = i < j ? i : j;
    parent[static_cast<std::size_t>(i)] = parent[static_cast<std::size_t>(j)] = low;
    return low;
  }
  std::int32_t grow() {
    parent.push_back(static_cast<std::int32_t>(parent.size()));
    return parent.back();
  }
};

struct Step {
  std::int64_t x, y, z;
};

// Neighbors that come earlier in memory.
std::vector<Step> steps_before(int connectivity) {
  std::vector<Step> steps;
  for (std::int64_t x = -1; x <= 0; ++x)
    for (std::int64_t y = -1; y <= 1; ++y)
      for (std::int64_t z = -1; z <= 1; ++z) {
        const bool before = x < 0 || (x == 0 && (y < 0 || (y == 0 && z < 0)));
        if (before && std::abs(x) + std::abs(y) + std::abs(z) <= connectivity) steps.push_back({x, y, z});
      }
  return steps;
}

template <class T>
std::int32_t number(const T* values, const Shape& shape, int connectivity, std::int32_t* out) {
  const auto steps = steps_before(connectivity);
  Forest forest;
  std::int64_t at = 0;
  for (std::int64_t x = 0; x < shape[0]; ++x)
    for (std::int64_t y = 0; y < shape[1]; ++y)
      for (std::int64_t z = 0; z < shape[2]; ++z, ++at) {
        out[at] = 0;
        if (values[at] == 0) continue;
        std::int32_t mine = 0;
        for (const auto& step : steps) {
          if (x + step.x < 0 || y + step.y < 0 || y + step.y >= shape[1] || z + step.z < 0 || z + step.z >= shape[2]) continue;
          const auto other = out[at + (step.x * shape[1] + step.y) * shape[2] + step.z];
          if (other != 0 && other != mine) mine = mine == 0 ? other : forest.join(mine, other);
        }
        out[at] = mine == 0 ? forest.grow() : mine;
      }
  std::vector<std::int32_t> names(forest.parent.size());
  std::int32_t count = 0;
  for (std::size_t i = 1; i < names.size(); ++i) {
    const auto root = static_cast<std::size_t>(forest.root(static_cast<std::int32_t>(i)));
    names[i] = root == i ? ++count : names[root];
  }
  for (std::int64_t i = 0; i < at; ++i) out[i] = names[static_cast<std::size_t>(out[i])];
  return count;
}

}  // namespace

std::int32_t connected_components(const LabelMap& map, int connectivity, std::int32_t* out) {
  return map.narrow ? number(map.narrow, map.shape, connectivity, out) : number(map.wide, map.shape, connectivity, out);
}

}  // namespace sslmed::metrics
