#include "modalities/volume/grids.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "modalities/volume/decimals.h"
#include "transforms/volume_resample.h"

namespace sslmed::volume {
namespace {

using io::Extent3;
using transforms::Affine3;

constexpr double kAligned = 1e-2;  // cells by which grids may differ over a volume and still count as parallel
constexpr double kMaxSide = 1 << 12, kMaxCells = 1 << 30;
constexpr double kMaxRatio = 1e3;                // of spacings: weights of a resampled cell grow with it
constexpr double kLargest = 1e9, kLeast = 1e-9;  // mm
constexpr double kOnBorder = 1e-3;               // cells that rounding of affines in 32 bits may put beyond the border

void check_ratio(const std::string& name, const Extent3& shape, std::size_t axis, double from, double to) {
  if (shape[axis] > 1 && !(from <= kMaxRatio * to && to <= kMaxRatio * from))
    throw FormatError(name, "cells at most 1,000 times larger or smaller than those of the prepared grid, " + decimal(to) + " mm",
                      decimal(from) + " mm along axis " + std::to_string(axis));
}

// Cell of a volume for a cell of the grid; the grids are parallel where off-diagonal entries move nothing.
bool parallel(const Affine3& map, const Extent3& shape) {
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      if (i == j ? !(map[4 * i + j] > 0) : std::abs(map[4 * i + j]) * static_cast<double>(shape[j]) > kAligned) return false;
  return true;
}

bool in_view(const Affine3& map, const Extent3& view, const Extent3& cell) {
  for (std::size_t a = 0; a < 3; ++a) {
    double place = map[4 * a + 3];
    for (std::size_t j = 0; j < 3; ++j) place += map[4 * a + j] * static_cast<double>(cell[j]);
    if (!(place >= -0.5 - kOnBorder && place <= static_cast<double>(view[a]) - 0.5 + kOnBorder)) return false;
  }
  return true;
}

// Which cells of the grid have their middle in the field of view; empty: all.
std::vector<std::uint8_t> covered_cells(const Affine3& map, const Extent3& view, const Extent3& shape) {
  bool all = true;  // a field of view is convex: its corners speak for the grid
  for (std::int64_t corner = 0; corner < 8; ++corner)
    all = all && in_view(map, view, {(corner & 1) * (shape[0] - 1), (corner >> 1 & 1) * (shape[1] - 1), (corner >> 2) * (shape[2] - 1)});
  std::vector<std::uint8_t> out;
  if (all) return out;
  out.reserve(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
  for (std::int64_t x = 0; x < shape[0]; ++x)
    for (std::int64_t y = 0; y < shape[1]; ++y)
      for (std::int64_t z = 0; z < shape[2]; ++z) out.push_back(in_view(map, view, {x, y, z}) ? 1 : 0);
  return out;
}

std::vector<float> on_parallel(const Upright& volume, const Affine3& map, const Grid& grid, Sampling sampling) {
  transforms::ResampleGrid axes{volume.shape, grid.shape, volume.spacing, {}, {}};
  for (std::size_t a = 0; a < 3; ++a) {
    const double step = map[4 * a + a];
    axes.to_spacing[a] = step * volume.spacing[a];
    axes.offset[a] = (map[4 * a + 3] + 0.5 - 0.5 * step) * volume.spacing[a];
  }
  std::vector<float> out(static_cast<std::size_t>(grid.cells()));
  if (sampling == Sampling::kNearest) {
    transforms::resample_nearest(axes, volume.values.data(), out.data());
  } else {
    transforms::resample_linear(axes, volume.values.data(), /*antialias=*/true, out.data());
  }
  return out;
}

// The volume with cells as large as `steps` of its own along axes where these are above 1, and the map to it.
std::vector<float> shrunk(const Upright& volume, const std::array<double, 3>& steps, Extent3& shape, Affine3& map) {
  transforms::ResampleGrid axes{volume.shape, volume.shape, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
  for (std::size_t a = 0; a < 3; ++a) {
    if (volume.shape[a] == 1 || !(steps[a] > 1)) continue;
    const auto n = static_cast<double>(volume.shape[a]);
    axes.to[a] = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(n / steps[a])));
    axes.to_spacing[a] = steps[a];
    axes.offset[a] = 0.5 * (n - steps[a] * static_cast<double>(axes.to[a]));
    for (std::size_t j = 0; j < 4; ++j) map[4 * a + j] /= steps[a];
    map[4 * a + 3] += (0.5 - axes.offset[a]) / steps[a] - 0.5;
  }
  shape = axes.to;
  std::vector<float> out(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
  transforms::resample_linear(axes, volume.values.data(), /*antialias=*/true, out.data());
  return out;
}

}  // namespace

Upright upright(const std::string& name, const io::Volume3& volume) {
  Upright out;
  out.name = name;
  for (const auto value : volume.values)
    if (std::isinf(value)) throw FormatError(name, "finite values", "infinity");
  for (std::size_t i = 0; i < 12; ++i)
    if (!(std::abs(volume.affine[i]) <= kLargest)) throw FormatError(name, "an affine of at most 1e9 mm", decimal(volume.affine[i]) + " mm");
  transforms::Orientation orientation;
  try {
    orientation = transforms::closest_canonical(volume.affine);
    out.affine = transforms::reoriented(volume.affine, volume.shape, orientation);
    out.inverse = transforms::inverse(out.affine);
  } catch (const ValueError& error) {
    throw FormatError(name, "an affine whose axes span space", error.what());
  }
  out.orientation = orientation.text();
  for (std::size_t a = 0; a < 3; ++a) {
    out.shape[a] = volume.shape[orientation.axis[a]];
    double norm = 0;
    for (std::size_t i = 0; i < 3; ++i) norm += out.affine[4 * i + a] * out.affine[4 * i + a];
    out.spacing[a] = std::sqrt(norm);
    if (out.spacing[a] < kLeast) throw FormatError(name, "cells of at least 1e-9 mm", decimal(out.spacing[a]) + " mm");
  }
  out.values = transforms::reorient(volume.values, volume.shape, orientation);
  // Several packages write NaN outside of the head: nothing is there, which the lowest value says too.
  float low = std::numeric_limits<float>::infinity();
  for (const auto value : out.values) low = value < low ? value : low;
  if (std::isinf(low)) throw FormatError(name, "a volume with values", "NaN alone");
  for (auto& value : out.values) value = std::isnan(value) ? low : value;
  return out;
}

Grid target_grid(const Upright& reference, const std::array<double, 3>& spacing) {
  Grid out;
  std::array<double, 3> step;
  double cells = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    out.spacing[a] = spacing[a] > 0 ? spacing[a] : reference.spacing[a];
    check_ratio(reference.name, reference.shape, a, reference.spacing[a], out.spacing[a]);
    step[a] = out.spacing[a] / reference.spacing[a];
    const double count = std::max(1.0, std::round(static_cast<double>(reference.shape[a]) / step[a]));
    if (!(count <= kMaxSide)) throw FormatError(reference.name, "at most 4,096 cells of " + decimal(out.spacing[a]) + " mm along an axis", decimal(count));
    out.shape[a] = static_cast<std::int64_t>(count);
    cells *= count;
  }
  if (cells > kMaxCells) throw FormatError(reference.name, "at most 2^30 cells of " + decimals(out.spacing) + " mm", decimals(out.shape) + " cells");
  Affine3 map{};
  map[15] = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    map[4 * a + a] = step[a];
    // The middles of both fields of view lie in one place.
    map[4 * a + 3] = 0.5 * (static_cast<double>(reference.shape[a]) - 1 - step[a] * (static_cast<double>(out.shape[a]) - 1));
  }
  out.affine = transforms::product(reference.affine, map);
  return out;
}

Placed on_grid(const Upright& volume, const Grid& grid, Sampling sampling) {
  auto map = transforms::product(volume.inverse, grid.affine);
  std::array<double, 3> steps;  // of the grid along the volume's axes, in cells of the volume
  for (std::size_t a = 0; a < 3; ++a) {
    steps[a] = std::hypot(map[4 * a], map[4 * a + 1], map[4 * a + 2]);
    check_ratio(volume.name, volume.shape, a, volume.spacing[a], steps[a] * volume.spacing[a]);
  }
  Placed out{{}, covered_cells(map, volume.shape, grid.shape)};
  if (std::count(out.covered.begin(), out.covered.end(), 1) == 0 && !out.covered.empty()) {
    out.values.resize(static_cast<std::size_t>(grid.cells()));
    return out;
  }
  if (parallel(map, grid.shape)) {
    out.values = on_parallel(volume, map, grid, sampling);
  } else {
    out.values.resize(static_cast<std::size_t>(grid.cells()));
    if (sampling == Sampling::kNearest) {
      transforms::sample_nearest(volume.values.data(), volume.shape, map, grid.shape, out.values.data());
    } else {
      Extent3 shape;
      const auto coarse = shrunk(volume, steps, shape, map);
      transforms::sample_linear(coarse.data(), shape, map, grid.shape, out.values.data());
    }
  }
  for (std::size_t i = 0; i < out.covered.size(); ++i)
    if (out.covered[i] == 0) out.values[i] = 0;
  return out;
}

}  // namespace sslmed::volume
