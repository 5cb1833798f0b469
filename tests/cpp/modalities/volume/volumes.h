#pragma once
// Small sessions for tests.

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "modalities/volume/prepare.h"

namespace sslmed::testing {

// A textured ball in a background of zeros, [24, 28, 20] cells of 2 mm in RAS+ order, stored as LAS: x runs to the left.
inline io::Volume3 ball(std::uint64_t seed, double gain = 1) {
  io::Volume3 out{{24, 28, 20}, {}, {-2, 0, 0, 23, 0, 2, 0, -27, 0, 0, 2, -19, 0, 0, 0, 1}};
  Philox random({seed, 0, 0}, Stream::kWindow, true);
  for (int z = 0; z < 20; ++z)
    for (int y = 0; y < 28; ++y)
      for (int x = 0; x < 24; ++x) {
        const double d = std::pow(x - 11.5, 2) + std::pow(y - 13.5, 2) + std::pow(z - 9.5, 2);
        // Brighter on the right, which is where x is small.
        const double value = d < 64 ? gain * (100 - 2 * x + 5 * random.uniform()) : 0;
        out.values.push_back(static_cast<float>(value));
      }
  return out;
}

inline volume::PreparationOptions two_mm() {
  volume::PreparationOptions options;
  options.spacing = {2, 2, 2};
  return options;
}

inline io::StoreVolume prepared(const std::string& name, const volume::Session& session, const volume::PreparationOptions& options) {
  std::vector<std::string> warnings;
  return volume::prepare(name, session, options, warnings);
}

}  // namespace sslmed::testing
