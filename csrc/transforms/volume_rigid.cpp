// A volume moved as a rigid body, with linear interpolation.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/simd.h"
#include "transforms/volume_kspace.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {
namespace {

// Index = matrix · index of the result + offset, in voxels.
struct VoxelMap {
  std::array<std::array<double, 3>, 3> matrix;
  std::array<double, 3> offset;
};

VoxelMap voxel_map(const FloatVolume& volume, const Movement& movement, const std::array<double, 3>& center) {
  double c[3], s[3];
  for (std::size_t a = 0; a < 3; ++a) {
    const double radians = movement.degrees[a] * std::numbers::pi / 180;
    c[a] = std::cos(radians);
    s[a] = std::sin(radians);
  }
  // Rz · Rx · Ry
  const double rotation[3][3] = {{c[2] * c[1] - s[2] * s[0] * s[1], -s[2] * c[0], c[2] * s[1] + s[2] * s[0] * c[1]},
                                 {s[2] * c[1] + c[2] * s[0] * s[1], c[2] * c[0], s[2] * s[1] - c[2] * s[0] * c[1]},
                                 {-c[0] * s[1], s[0], c[0] * c[1]}};
  VoxelMap map{};
  for (std::size_t i = 0; i < 3; ++i) {
    double mm = center[i] + movement.translation[i];
    for (std::size_t j = 0; j < 3; ++j) {
      mm -= rotation[i][j] * center[j];
      map.matrix[i][j] = rotation[i][j] * volume.spacing[j] / volume.spacing[i];
    }
    map.offset[i] = mm / volume.spacing[i];
  }
  return map;
}

// Along one axis: where a row of the result starts in the volume, how far one voxel along z goes, and the last cell of two neighbors, which lie `stride`
// apart; 0 along an axis of one voxel.
struct RowAxis {
  float start, step;
  std::int32_t last, stride;
};

struct CellPlace {
  std::int32_t cell;
  float share;  // of the upper neighbor
};

// Within half a voxel of the edge the edge counts. Bounds are put to integers, also of the share, whose bits are ordered as numbers of one sign are.
SSLMED_INLINE CellPlace cell_place(const RowAxis& axis, float z) {
  const float at = axis.start + z * axis.step;
  const std::int32_t whole = static_cast<std::int32_t>(at + 1) - 1;
  const std::int32_t raised = whole > 0 ? whole : 0, cell = raised < axis.last ? raised : axis.last;
  const std::int32_t bits = bits_of(at - static_cast<float>(cell)), one = 0x3f800000;
  const std::int32_t least = bits > 0 ? bits : 0;
  return {cell, float_of(least < one ? least : one)};
}

SSLMED_INLINE float between_neighbors(const float* values, std::int32_t at, std::int32_t next, float share) {
  return values[at] + share * (values[at + next] - values[at]);
}

SSLMED_CLONES void interpolate_row(const float* __restrict values, const RowAxis& x, const RowAxis& y, const RowAxis& z, std::int32_t first, std::int32_t end,
                                   float* __restrict into) {
  const RowAxis ax = x, ay = y, az = z;
  for (std::int32_t i = first; i < end; ++i) {
    const auto place = static_cast<float>(i);
    const CellPlace px = cell_place(ax, place), py = cell_place(ay, place), pz = cell_place(az, place);
    const std::int32_t at = px.cell * ax.stride + py.cell * ay.stride + pz.cell;
    const float a = between_neighbors(values, at, az.stride, pz.share), b = between_neighbors(values, at + ay.stride, az.stride, pz.share);
    const float c = between_neighbors(values, at + ax.stride, az.stride, pz.share);
    const float d = between_neighbors(values, at + ax.stride + ay.stride, az.stride, pz.share);
    const float near = a + py.share * (b - a), far = c + py.share * (d - c);
    into[i] = near + px.share * (far - near);
  }
}

}  // namespace

void move_rigidly(const FloatVolume& volume, const Movement& movement, const std::array<double, 3>& center, float fill, float* into) {
  const auto map = voxel_map(volume, movement, center);
  const auto [nx, ny, nz] = volume.shape;
  const std::int64_t strides[3] = {ny * nz, nz, 1};
  RowAxis axes[3];
  for (std::size_t a = 0; a < 3; ++a) {
    const auto n = volume.shape[a];
    axes[a] = {0, static_cast<float>(map.matrix[a][2]), static_cast<std::int32_t>(std::max<std::int64_t>(n - 2, 0)),
               static_cast<std::int32_t>(n > 1 ? strides[a] : 0)};
  }
  for (std::int64_t x = 0; x < nx; ++x)
    for (std::int64_t y = 0; y < ny; ++y, into += nz) {
      double low = 0, high = static_cast<double>(nz - 1);  // the part of the row that lies in the volume
      for (std::size_t a = 0; a < 3; ++a) {
        const double start = map.offset[a] + map.matrix[a][0] * static_cast<double>(x) + map.matrix[a][1] * static_cast<double>(y), step = map.matrix[a][2];
        axes[a].start = static_cast<float>(start);
        const double from = -0.5 - start, to = static_cast<double>(volume.shape[a]) - 0.5 - start;
        if (std::abs(step) < 1e-12) {
          if (from > 0 || to < 0) high = -1;
        } else {
          low = std::max(low, (step > 0 ? from : to) / step);
          high = std::min(high, (step > 0 ? to : from) / step);
        }
      }
      const auto first = static_cast<std::int64_t>(std::ceil(std::min(low, static_cast<double>(nz))));
      const auto end = std::max(first, static_cast<std::int64_t>(std::floor(std::max(high, -1.0))) + 1);
      std::fill_n(into, first, fill);
      interpolate_row(volume.values, axes[0], axes[1], axes[2], static_cast<std::int32_t>(first), static_cast<std::int32_t>(end), into);
      std::fill(into + end, into + nz, fill);
    }
}

}  // namespace sslmed::transforms
