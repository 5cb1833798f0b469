#pragma once
// Warped volumes straight from the definitions, one cell at a time in double precision.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "core/random.h"
#include "transforms/volume_warp.h"

namespace sslmed::transforms::reference {

using Place = std::array<double, 3>;

inline std::size_t cells_of(const VolumeShape& shape) { return static_cast<std::size_t>(shape[0] * shape[1] * shape[2]); }

// The cubic B-spline's basis function.
inline double basis(double t) {
  t = std::abs(t);
  if (t < 1) return 2.0 / 3 - t * t + t * t * t / 2;
  return t < 2 ? std::pow(2 - t, 3) / 6 : 0;
}

// In cells, of a field over a volume of `shape` cells of `spacing`; control point i stands i - 1 meshes from the start.
inline Place displacement(const ElasticField& field, const VolumeShape& shape, const VolumeSpacing& spacing, const Place& at) {
  Place s, out{0, 0, 0};
  for (std::size_t a = 0; a < 3; ++a) {
    const auto meshes = static_cast<double>(field.points[a] - 3), extent = static_cast<double>(shape[a]) + 0.25;
    s[a] = std::clamp((at[a] + 0.125) / extent * meshes, 0.0, meshes);
  }
  std::size_t number = 0;
  for (std::int64_t i = 0; i < field.points[0]; ++i)
    for (std::int64_t j = 0; j < field.points[1]; ++j)
      for (std::int64_t k = 0; k < field.points[2]; ++k) {
        const double weight = basis(s[0] - static_cast<double>(i - 1)) * basis(s[1] - static_cast<double>(j - 1)) * basis(s[2] - static_cast<double>(k - 1));
        for (std::size_t a = 0; a < 3; ++a) out[a] += weight * static_cast<double>(field.displacement[number++]) / spacing[a];
      }
  return out;
}

inline ElasticField random_field(std::array<std::int64_t, 3> points, double mm, Philox& random) {
  ElasticField out{points, {}};
  for (std::int64_t i = 0; i < 3 * points[0] * points[1] * points[2]; ++i) out.displacement.push_back(static_cast<float>(mm * (2 * random.uniform() - 1)));
  return out;
}

// Calls visit(offset into the source, weight) for the eight cells around a place; whether it is inside.
template <class Visit>
bool around(const VolumeShape& shape, const Place& at, Visit&& visit) {
  for (std::size_t a = 0; a < 3; ++a)
    if (!(at[a] >= 0 && at[a] < static_cast<double>(shape[a]))) return false;
  for (int corner = 0; corner < 8; ++corner) {
    double weight = 1;
    std::size_t offset = 0;
    for (std::size_t a = 0; a < 3; ++a) {
      const double low = std::floor(at[a] - 0.5), up = at[a] - 0.5 - low;
      const bool upper = (corner >> a) & 1;
      weight *= upper ? up : 1 - up;
      const auto cell = std::clamp<std::int64_t>(static_cast<std::int64_t>(low) + (upper ? 1 : 0), 0, shape[a] - 1);
      offset = offset * static_cast<std::size_t>(shape[a]) + static_cast<std::size_t>(cell);
    }
    visit(offset, weight);
  }
  return true;
}

inline std::vector<float> noise(const VolumeShape& shape, std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kGrid, /*many=*/true);
  std::vector<float> out(cells_of(shape));
  for (auto& value : out) value = static_cast<float>(random.uniform());
  return out;
}

// Blocks of four labels.
inline std::vector<std::int32_t> blocks(const VolumeShape& shape, std::int64_t size) {
  std::vector<std::int32_t> out;
  for (std::int64_t i = 0; i < shape[0]; ++i)
    for (std::int64_t j = 0; j < shape[1]; ++j)
      for (std::int64_t k = 0; k < shape[2]; ++k) out.push_back(static_cast<std::int32_t>((i / size + 2 * (j / size) + 3 * (k / size)) % 4));
  return out;
}

struct Errors {
  double linear = 0;         // the largest difference
  std::int64_t nearest = 0;  // cells that differ, but for those whose place is a hair from an edge
  std::int64_t label = 0;    // cells that differ, but for those whose two largest weights are a hair apart
};

// Against a map of the test's own: `source_of` gives a place of the result's place.
template <class SourceOf>
Errors compare(const VolumeMap& map, SourceOf&& source_of) {
  const auto values = noise(map.from, 7);
  const auto labels = blocks(map.from, 3);
  std::vector<float> linear(cells_of(map.to));
  std::vector<std::int32_t> nearest(linear.size()), voted(linear.size());
  const VolumeWarp warp(map);
  warp.apply(values.data(), VolumeInterpolation::kLinear, -2.0F, linear.data());
  warp.apply(labels.data(), VolumeInterpolation::kNearest, -2, nearest.data());
  warp.apply(labels.data(), VolumeInterpolation::kLabel, -2, voted.data());
  Errors out;
  std::size_t cell = 0;
  for (std::int64_t i = 0; i < map.to[0]; ++i)
    for (std::int64_t j = 0; j < map.to[1]; ++j)
      for (std::int64_t k = 0; k < map.to[2]; ++k, ++cell) {
        const Place at = source_of(Place{static_cast<double>(i) + 0.5, static_cast<double>(j) + 0.5, static_cast<double>(k) + 0.5});
        bool edge = false, outer = false;
        for (std::size_t a = 0; a < 3; ++a) {
          edge = edge || std::abs(at[a] - std::round(at[a])) < 1e-4;
          outer = outer || std::abs(at[a]) < 1e-4 || std::abs(at[a] - static_cast<double>(map.from[a])) < 1e-4;
        }
        if (outer) continue;  // rounding decides whether it is inside
        double value = 0;
        std::map<std::int32_t, double> votes;
        const bool inside = around(map.from, at, [&](std::size_t offset, double weight) {
          value += weight * static_cast<double>(values[offset]);
          votes[labels[offset]] += weight;
        });
        out.linear = std::max(out.linear, std::abs((inside ? value : -2) - static_cast<double>(linear[cell])));
        if (!inside) {
          out.nearest += nearest[cell] != -2;
          out.label += voted[cell] != -2;
          continue;
        }
        std::size_t offset = 0;
        for (std::size_t a = 0; a < 3; ++a) offset = offset * static_cast<std::size_t>(map.from[a]) + static_cast<std::size_t>(at[a]);
        out.nearest += !edge && nearest[cell] != labels[offset];
        double most = 0, second = 0;
        std::int32_t best = 0;
        for (const auto& [label, weight] : votes) {
          if (weight > most) {
            second = most;
            most = weight;
            best = label;
          } else {
            second = std::max(second, weight);
          }
        }
        out.label += most - second > 1e-4 && voted[cell] != best;
      }
  return out;
}

}  // namespace sslmed::transforms::reference
