#include "metrics/surface.h"

#include <array>
#include <cmath>
#include <cstring>

#include "core/simd.h"

namespace sslmed::metrics {
namespace {

// Triangles of marching cubes in each neighborhood of 2x2x2 cells, for codes below 128; the code of the complement has
// the same. Their normals have seven directions, each a hexadecimal digit here: how often (1, 1, 1)/8, (4, 0, 0)/8, (0,
// 4, 0)/8, (0, 0, 4)/8, (0, 2, 2)/8, (2, 0, 2)/8 and (2, 2, 0)/8, signs aside. These are the constants of DeepMind's
// definition (Nikolov et al., arXiv 1809.04430; google-deepmind/surface-distance): areas depend on how polygons are cut
// into triangles.
constexpr std::array<std::uint32_t, 128> kTriangles = {
    0x0000000, 0x1000000, 0x1000000, 0x0000002, 0x1000000, 0x0000020, 0x2000000, 0x3100000, 0x1000000, 0x2000000, 0x0000020, 0x3100000, 0x0000002,
    0x3100000, 0x3100000, 0x0200000, 0x1000000, 0x0000200, 0x2000000, 0x3010000, 0x2000000, 0x3001000, 0x3000000, 0x6000000, 0x2000000, 0x1000200,
    0x1000020, 0x4000110, 0x1000002, 0x4000101, 0x4100000, 0x3100000, 0x1000000, 0x2000000, 0x0000200, 0x3010000, 0x2000000, 0x1000020, 0x1000200,
    0x4000110, 0x2000000, 0x3000000, 0x3001000, 0x6000000, 0x1000002, 0x4100000, 0x4000101, 0x3100000, 0x0000002, 0x3010000, 0x3010000, 0x0020000,
    0x1000002, 0x4000011, 0x4010000, 0x3010000, 0x1000002, 0x4010000, 0x4000011, 0x3010000, 0x0000004, 0x1000002, 0x1000002, 0x0000002, 0x1000000,
    0x2000000, 0x2000000, 0x1000002, 0x0000200, 0x3001000, 0x1000200, 0x4000101, 0x2000000, 0x3000000, 0x1000020, 0x4100000, 0x3010000, 0x6000000,
    0x4000110, 0x3100000, 0x0000020, 0x3001000, 0x1000020, 0x4000011, 0x3001000, 0x0002000, 0x4001000, 0x3001000, 0x1000020, 0x4001000, 0x0000040,
    0x1000020, 0x4000011, 0x3001000, 0x1000020, 0x0000020, 0x2000000, 0x3000000, 0x1000200, 0x4010000, 0x1000200, 0x4001000, 0x0000400, 0x1000200,
    0x3000000, 0x4000000, 0x4001000, 0x3000000, 0x4010000, 0x3000000, 0x1000200, 0x2000000, 0x3100000, 0x6000000, 0x4000110, 0x3010000, 0x4000101,
    0x3001000, 0x1000200, 0x0000200, 0x4100000, 0x3000000, 0x1000020, 0x2000000, 0x1000002, 0x2000000, 0x2000000, 0x1000000,
};

SSLMED_CLONES void mark_cells(const std::uint8_t* m, std::int64_t n, std::int64_t row, std::int64_t slice, std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t inside = m[i - 1] & m[i + 1] & m[i - row] & m[i + row] & m[i - slice] & m[i + slice];
    out[i] = static_cast<std::uint8_t>(m[i] & (inside ^ 1));
  }
}

// m is the cell of the highest indices of the first corner.
SSLMED_CLONES void mark_corners(const std::uint8_t* m, std::int64_t n, std::int64_t row, std::int64_t slice, std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const int far = m[i - slice - row - 1] << 7 | m[i - slice - row] << 6 | m[i - slice - 1] << 5 | m[i - slice] << 4;
    out[i] = static_cast<std::uint8_t>(far | m[i - row - 1] << 3 | m[i - row] << 2 | m[i - 1] << 1 | m[i]);
  }
}

SSLMED_CLONES void mark_flat_corners(const std::uint8_t* m, std::int64_t n, std::int64_t row, std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>(m[i - row - 1] << 3 | m[i - row] << 2 | m[i - 1] << 1 | m[i]);
}

// f(z, mark) for the bytes of a row that are neither 0 nor `full`; eight equal ones are passed over at once.
template <class F>
void for_marked(const std::uint8_t* row, std::int64_t n, std::uint8_t full, F&& f) {
  const std::uint64_t all = 0x0101010101010101ull * full;
  std::int64_t z = 0;
  while (z < n) {
    if (z + 8 <= n) {
      std::uint64_t eight;
      std::memcpy(&eight, row + z, 8);
      if (eight == 0 || eight == all) {
        z += 8;
        continue;
      }
    }
    const auto stop = z + 8 < n ? z + 8 : n;
    for (; z < stop; ++z)
      if (row[z] != 0 && row[z] != full) f(z, row[z]);
  }
}

// f(x, y, codes of the corners [1, shape[2]) of a row), over all rows of corners.
template <class F>
void for_corner_rows(const Mask& mask, F&& f) {
  const auto row = mask.shape[2], slice = mask.shape[1] * mask.shape[2];
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(row));
  const std::int64_t first = mask.rank == 3 ? 1 : 0;
  for (std::int64_t x = first; x < mask.shape[0]; ++x) {
    for (std::int64_t y = 1; y < mask.shape[1]; ++y) {
      const auto* m = mask.values.data() + x * slice + y * row + 1;
      if (mask.rank == 3) {
        mark_corners(m, row - 1, row, slice, codes.data());
      } else {
        mark_flat_corners(m, row - 1, row, codes.data());
      }
      f(x, y, codes.data(), row - 1);
    }
  }
}

void add(Surface& surface, const Mask& mask, std::int64_t x, std::int64_t y, std::int64_t z) {
  surface.x.push_back(static_cast<std::int32_t>(x + mask.origin[0]));
  surface.y.push_back(static_cast<std::int32_t>(y + mask.origin[1]));
  surface.z.push_back(static_cast<std::int32_t>(z + mask.origin[2]));
}

Surface cells_of(const Mask& mask) {
  Surface surface;
  const auto row = mask.shape[2], slice = mask.shape[1] * mask.shape[2];
  const std::int64_t margin = mask.rank == 3 ? 1 : 0;
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(row));
  for (std::int64_t x = margin; x < mask.shape[0] - margin; ++x) {
    for (std::int64_t y = 1; y < mask.shape[1] - 1; ++y) {
      const auto* m = mask.values.data() + x * slice + y * row + 1;
      mark_cells(m, row - 2, row, mask.rank == 3 ? slice : row, marks.data());
      for_marked(marks.data(), row - 2, 0, [&](std::int64_t z, std::uint8_t) { add(surface, mask, x, y, z + 1); });
    }
  }
  return surface;
}

Surface corners_of(const Mask& mask, const Spacing& spacing) {
  Surface surface;
  const auto areas = surface_areas(spacing, mask.rank);
  const auto full = static_cast<std::uint8_t>(areas.size() - 1);
  for_corner_rows(mask, [&](std::int64_t x, std::int64_t y, const std::uint8_t* codes, std::int64_t n) {
    for_marked(codes, n, full, [&](std::int64_t z, std::uint8_t code) {
      add(surface, mask, x, y, z + 1);
      surface.area.push_back(areas[code]);
    });
  });
  return surface;
}

// Eight times what a corner with this code adds to the Euler characteristic: each cell of a lower dimension is shared
// by as many corners as it has. `full`: the corner, its 6 edges, 12 faces and 8 cubes are there where one of their
// cells is. Otherwise, in the dual, cells are vertices, and cubes, faces and edges are there where all of their cells
// are.
int euler_share(unsigned code, bool full) {
  int vertices = 0, edges = 0, faces = 0, cubes = 0;
  // A cell of the grid around the corner: along each axis both neighbors (2), or one of them (0 or 1).
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) {
      for (int c = 0; c < 3; ++c) {
        unsigned around = 0;
        for (unsigned cell = 0; cell < 8; ++cell) {
          const int i = cell >> 2 & 1, j = cell >> 1 & 1, k = cell & 1;
          if ((a == 2 || a == i) && (b == 2 || b == j) && (c == 2 || c == k)) around |= 1u << cell;
        }
        const bool there = full ? (code & around) != 0 : (code & around) == around;
        const int both = (a == 2) + (b == 2) + (c == 2);
        if (!there) continue;
        vertices += both == 3;
        edges += both == 2;
        faces += both == 1;
        cubes += both == 0;
      }
    }
  }
  const int sum = 8 * vertices - 4 * edges + 2 * faces - cubes;
  return full ? sum : -sum;
}

}  // namespace

std::vector<double> surface_areas(const Spacing& spacing, int rank) {
  if (rank == 2) {
    const double down = spacing[1], right = spacing[2], corner = 0.5 * std::sqrt(down * down + right * right);
    std::vector<double> lengths(16);
    for (unsigned code = 1; code < 15; ++code) lengths[code] = corner;
    lengths[0b0110] = lengths[0b1001] = 2 * corner;
    lengths[0b0011] = lengths[0b1100] = right;
    lengths[0b0101] = lengths[0b1010] = down;
    return lengths;
  }
  const double x = spacing[1] * spacing[2], y = spacing[0] * spacing[2], z = spacing[0] * spacing[1];
  const std::array<double, 7> unit = {std::sqrt(x * x + y * y + z * z) / 8, x / 2, y / 2, z / 2, std::sqrt(y * y + z * z) / 4, std::sqrt(x * x + z * z) / 4,
                                      std::sqrt(x * x + y * y) / 4};
  std::vector<double> areas(256);
  for (unsigned code = 0; code < 256; ++code) {
    const auto triangles = kTriangles[code < 128 ? code : 255 - code];
    for (unsigned i = 0; i < 7; ++i) areas[code] += (triangles >> (4 * (6 - i)) & 15) * unit[i];
  }
  return areas;
}

Surface surface_of(const Mask& mask, SurfaceKind kind, const Spacing& spacing) {
  if (mask.empty()) return {};
  return kind == SurfaceKind::kCells ? cells_of(mask) : corners_of(mask, spacing);
}

std::int64_t euler_characteristic(const Mask& mask, bool full) {
  if (mask.empty()) return 0;
  // A picture's cells have neighbors outside on both sides of the missing axis: every corner is there twice.
  const bool flat = mask.rank == 2;
  std::array<int, 256> share{};
  for (unsigned code = 0; code < (flat ? 16u : 256u); ++code)
    share[code] = flat ? euler_share(code, full) + euler_share(code << 4, full) : euler_share(code, full);
  std::int64_t sum = 0;
  for_corner_rows(mask, [&](std::int64_t, std::int64_t, const std::uint8_t* codes, std::int64_t n) {
    for_marked(codes, n, flat ? 15 : 255, [&](std::int64_t, std::uint8_t code) { sum += share[code]; });
  });
  return sum / 8;
}

}  // namespace sslmed::metrics
