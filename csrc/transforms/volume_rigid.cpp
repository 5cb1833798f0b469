// A volume moved as a rigid body, with linear interpolation.

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

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

// Places of some voxels of a row in the volume, and what lies between their neighbors. Parts of rows are short, and a plane's are done one beside the other:
// a turned row crosses many planes, which would not stay in the cache until the next row comes.
constexpr std::int32_t kRowPart = 32;
struct RowPlaces {
  std::int32_t at[kRowPart];
  float x[kRowPart], y[kRowPart], z[kRowPart];
};

SSLMED_CLONES void find_places(const RowAxis& x, const RowAxis& y, const RowAxis& z, std::int32_t first, std::int32_t n, RowPlaces& into) {
  const RowAxis ax = x, ay = y, az = z;
  for (std::int32_t i = 0; i < n; ++i) {
    const auto place = static_cast<float>(first + i);
    const CellPlace px = cell_place(ax, place), py = cell_place(ay, place), pz = cell_place(az, place);
    into.at[i] = px.cell * ax.stride + py.cell * ay.stride + pz.cell;
    into.x[i] = px.share;
    into.y[i] = py.share;
    into.z[i] = pz.share;
  }
}

// Four neighbors a register, two rows' pairs along z: gathers of single floats take several times as long.
typedef float Neighbors __attribute__((vector_size(16)));
typedef double NeighborPairs __attribute__((vector_size(16)));
SSLMED_INLINE Neighbors pairs_at(const float* row, const float* next) {
  double one = 0, other = 0;  // only carry bits
  __builtin_memcpy(&one, row, sizeof one);
  __builtin_memcpy(&other, next, sizeof other);
  const NeighborPairs pairs = {one, other};
  return reinterpret_cast<Neighbors>(pairs);
}

SSLMED_CLONES void interpolate(const float* values, const RowPlaces& places, std::int64_t x, std::int64_t y, std::int32_t n, float* into) {
  for (std::int32_t i = 0; i < n; ++i) {
    const float* at = values + places.at[i];
    const Neighbors near = pairs_at(at, at + y), far = pairs_at(at + x, at + x + y);
    const Neighbors face = near + places.x[i] * (far - near);
    const float low = face[0] + places.y[i] * (face[2] - face[0]), high = face[1] + places.y[i] * (face[3] - face[1]);
    into[i] = low + places.z[i] * (high - low);
  }
}

// A row of the result: which of its voxels lie in the volume, and where its first voxel lies along each axis.
struct ResultRow {
  std::int64_t first, end;
  float start[3];
};

ResultRow result_row(const FloatVolume& volume, const VoxelMap& map, std::int64_t x, std::int64_t y) {
  const auto nz = volume.shape[2];
  ResultRow row{};
  double low = 0, high = static_cast<double>(nz - 1);
  for (std::size_t a = 0; a < 3; ++a) {
    const double start = map.offset[a] + map.matrix[a][0] * static_cast<double>(x) + map.matrix[a][1] * static_cast<double>(y);
    const double step = map.matrix[a][2], from = -0.5 - start, to = static_cast<double>(volume.shape[a]) - 0.5 - start;
    row.start[a] = static_cast<float>(start);
    if (std::abs(step) < 1e-12) {
      if (from > 0 || to < 0) high = -1;
    } else {
      low = std::max(low, (step > 0 ? from : to) / step);
      high = std::min(high, (step > 0 ? to : from) / step);
    }
  }
  row.first = static_cast<std::int64_t>(std::ceil(std::min(low, static_cast<double>(nz))));
  row.end = std::max(row.first, static_cast<std::int64_t>(std::floor(std::max(high, -1.0))) + 1);
  return row;
}

}  // namespace

void move_rigidly(const FloatVolume& volume, const Movement& movement, const std::array<double, 3>& center, float fill, float* into) {
  // Neighbors are read in pairs along z: where it has one voxel, each is doubled.
  const bool flat = volume.shape[2] == 1;
  std::vector<float> doubled;
  for (std::int64_t i = 0; flat && i < volume.size(); ++i) doubled.insert(doubled.end(), 2, volume.values[i]);
  const float* values = flat ? doubled.data() : volume.values;
  const std::int64_t row_stride = flat ? 2 : volume.shape[2];
  const auto map = voxel_map(volume, movement, center);
  const auto [nx, ny, nz] = volume.shape;
  const std::int64_t strides[3] = {ny * row_stride, row_stride, 1};
  RowAxis axes[3];
  for (std::size_t a = 0; a < 3; ++a) {
    const auto n = volume.shape[a];
    axes[a] = {0, static_cast<float>(map.matrix[a][2]), static_cast<std::int32_t>(std::max<std::int64_t>(n - 2, 0)),
               static_cast<std::int32_t>(n > 1 ? strides[a] : 0)};
  }
  RowPlaces places;
  std::vector<ResultRow> rows(static_cast<std::size_t>(ny));
  for (std::int64_t x = 0; x < nx; ++x, into += ny * nz) {
    for (std::int64_t y = 0; y < ny; ++y) {
      const auto& row = rows[static_cast<std::size_t>(y)] = result_row(volume, map, x, y);
      std::fill_n(into + y * nz, row.first, fill);
      std::fill(into + y * nz + row.end, into + (y + 1) * nz, fill);
    }
    for (std::int64_t part = 0; part < nz; part += kRowPart)
      for (std::int64_t y = 0; y < ny; ++y) {
        const auto& row = rows[static_cast<std::size_t>(y)];
        const auto first = std::max(part, row.first), n = std::min(part + kRowPart, row.end) - first;
        if (n <= 0) continue;
        for (std::size_t a = 0; a < 3; ++a) axes[a].start = row.start[a];
        find_places(axes[0], axes[1], axes[2], static_cast<std::int32_t>(first), static_cast<std::int32_t>(n), places);
        interpolate(values, places, axes[0].stride, axes[1].stride, static_cast<std::int32_t>(n), into + y * nz + first);
      }
  }
}

}  // namespace sslmed::transforms
