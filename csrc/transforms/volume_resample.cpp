#include "transforms/volume_resample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

void check_resample_grid(const ResampleGrid& grid) {
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto name = [&](const char* what) { return std::string("resample: ") + what + "[" + std::to_string(axis) + "]"; };
    require(grid.from[axis] >= 1, name("from").c_str(), grid.from[axis], "must be at least 1 cell");
    require(grid.to[axis] >= 1, name("to").c_str(), grid.to[axis], "must be at least 1 cell");
    require(grid.from[axis] <= INT32_MAX && grid.to[axis] <= INT32_MAX, name("from").c_str(), grid.from[axis], "must be below 2^31 cells");
    for (const double spacing : {grid.from_spacing[axis], grid.to_spacing[axis]})
      require(spacing > 0 && std::isfinite(spacing), name("spacing").c_str(), spacing, "mm must be positive and finite");
    require(std::isfinite(grid.offset[axis]), name("offset").c_str(), grid.offset[axis], "mm must be finite");
  }
}

// Where the middle of the result's cell i lies, in source cells.
double place_on_axis(const ResampleGrid& grid, std::size_t axis, std::int64_t i) {
  return (grid.offset[axis] + (static_cast<double>(i) + 0.5) * grid.to_spacing[axis]) / grid.from_spacing[axis];
}

bool is_same_axis(const ResampleGrid& grid, std::size_t axis) {
  return grid.offset[axis] == 0 && grid.from[axis] == grid.to[axis] && grid.from_spacing[axis] == grid.to_spacing[axis];
}

std::vector<std::int32_t> nearest_cells(const ResampleGrid& grid, std::size_t axis) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(grid.to[axis]));
  for (std::int64_t i = 0; i < grid.to[axis]; ++i)
    out[static_cast<std::size_t>(i)] =
        static_cast<std::int32_t>(std::clamp(std::floor(place_on_axis(grid, axis, i)), 0.0, static_cast<double>(grid.from[axis] - 1)));
  return out;
}

SSLMED_CLONES void weigh_cells(const float* __restrict source, const std::int32_t* __restrict index, const float* __restrict weight, std::int64_t taps,
                               std::int64_t n, float* __restrict into) {
  if (taps == 2) {
    for (std::int64_t i = 0; i < n; ++i) into[i] = weight[i] * source[index[i]] + weight[n + i] * source[index[n + i]];
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) into[i] = weight[i] * source[index[i]];
  for (std::int64_t t = 1; t < taps; ++t)
    for (std::int64_t i = 0; i < n; ++i) into[i] += weight[t * n + i] * source[index[t * n + i]];
}

SSLMED_CLONES void weigh_two_rows(const float* __restrict a, float by_a, const float* __restrict b, float by_b, std::int64_t n, float* __restrict into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] = by_a * a[i] + by_b * b[i];
}

SSLMED_CLONES void add_weighed_row(const float* __restrict a, float by, std::int64_t n, float* __restrict into) {
  for (std::int64_t i = 0; i < n; ++i) into[i] += by * a[i];
}

// Source rows that the next results need too: as many as there are taps. `make(i, row)` fills row i where it is missing.
class RowRing {
 public:
  RowRing(std::int64_t rows, std::int64_t length)
      : length_(length), held_(static_cast<std::size_t>(rows), -1), values_(static_cast<std::size_t>(rows * length)) {}
  void clear() { std::fill(held_.begin(), held_.end(), -1); }

  template <class Make>
  const float* row(std::int64_t i, Make&& make) {
    const auto slot = static_cast<std::size_t>(i) % held_.size();
    float* at = values_.data() + slot * static_cast<std::size_t>(length_);
    if (held_[slot] != i) {
      make(i, at);
      held_[slot] = i;
    }
    return at;
  }

 private:
  std::int64_t length_;
  std::vector<std::int64_t> held_;
  std::vector<float> values_;
};

// Cell i along an axis whose source rows `row(k)` gives, in order of k.
template <class Row>
void weigh_rows(const AxisTaps& axis, std::int64_t i, std::int64_t n, float* into, Row&& row) {
  const auto tap = [&](std::int64_t t) { return static_cast<std::size_t>(t * axis.cells + i); };
  if (axis.taps == 1) {
    std::copy_n(row(axis.index[tap(0)]), n, into);
    return;
  }
  const float *a = row(axis.index[tap(0)]), *b = row(axis.index[tap(1)]);
  weigh_two_rows(a, axis.weight[tap(0)], b, axis.weight[tap(1)], n, into);
  for (std::int64_t t = 2; t < axis.taps; ++t)
    if (axis.weight[tap(t)] != 0) add_weighed_row(row(axis.index[tap(t)]), axis.weight[tap(t)], n, into);
}

template <class T>
void resample_cells(const ResampleGrid& grid, const T* source, T* into) {
  check_resample_grid(grid);
  const auto x = nearest_cells(grid, 0), y = nearest_cells(grid, 1), z = nearest_cells(grid, 2);
  const bool whole_rows = is_same_axis(grid, 2);
  for (const auto i : x)
    for (const auto j : y) {
      const T* row = source + (i * grid.from[1] + j) * grid.from[2];
      if (whole_rows) {
        std::copy_n(row, z.size(), into);
      } else {
        for (std::size_t k = 0; k < z.size(); ++k) into[k] = row[z[k]];
      }
      into += z.size();
    }
}

}  // namespace

ResampleGrid resample_grid(const std::array<std::int64_t, 3>& shape, const std::array<double, 3>& from_spacing, const std::array<double, 3>& spacing) {
  constexpr double kSlack = 2e-7;  // of the cells: products and spacings of 32 bits end a little beside whole numbers
  ResampleGrid grid{shape, shape, from_spacing, spacing, {0, 0, 0}};
  check_resample_grid(grid);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const double extent = static_cast<double>(shape[axis]) * from_spacing[axis];
    if (shape[axis] > 1) grid.to[axis] = static_cast<std::int64_t>(std::floor(extent / spacing[axis] * (1 + kSlack)));
    require(grid.to[axis] >= 1, ("resample: spacing[" + std::to_string(axis) + "]").c_str(), spacing[axis],
            "mm must be at most the volume's " + std::to_string(extent) + " mm");
    grid.offset[axis] = (extent - static_cast<double>(grid.to[axis]) * spacing[axis]) / 2;
  }
  return grid;
}

AxisTaps linear_taps(const ResampleGrid& grid, std::size_t axis, bool antialias) {
  AxisTaps out;
  const auto last = static_cast<double>(grid.from[axis] - 1);
  const double shrink = grid.to_spacing[axis] / grid.from_spacing[axis], wide = antialias && shrink > 1 ? shrink : 1;
  out.same = is_same_axis(grid, axis);
  out.cells = grid.to[axis];
  // The cells within (p - wide, p + wide): at most as many as whole numbers fit there.
  out.taps = out.same ? 1 : static_cast<std::int64_t>(std::ceil(2 * wide));
  out.index.resize(static_cast<std::size_t>(out.taps * out.cells));
  out.weight.resize(out.index.size());
  for (std::int64_t i = 0; i < out.cells; ++i) {
    const double p = out.same ? static_cast<double>(i) : place_on_axis(grid, axis, i) - 0.5;
    const double first = out.same ? p : std::floor(p - wide) + 1;
    double sum = 0;
    for (std::int64_t t = 0; t < out.taps; ++t) sum += std::max(0.0, 1 - std::abs(first + static_cast<double>(t) - p) / wide);
    for (std::int64_t t = 0; t < out.taps; ++t) {
      const auto at = static_cast<std::size_t>(t * out.cells + i);
      const double k = first + static_cast<double>(t);
      out.index[at] = static_cast<std::int32_t>(std::clamp(k, 0.0, last));
      out.weight[at] = static_cast<float>(std::max(0.0, 1 - std::abs(k - p) / wide) / sum);
    }
  }
  return out;
}

void resample_linear(const ResampleGrid& grid, const float* source, bool antialias, float* into) {
  check_resample_grid(grid);
  const auto x = linear_taps(grid, 0, antialias), y = linear_taps(grid, 1, antialias), z = linear_taps(grid, 2, antialias);
  const auto width = grid.to[2], plane = grid.to[1] * width;
  // Rows along Z first, then planes, then the volume; each source row and plane is resampled once, and what one source
  // row or plane makes is made in its place.
  RowRing rows(y.taps, width), planes(x.taps, plane);
  const auto make_row = [&](const float* from, float* at) {
    if (z.same) {
      std::copy_n(from, width, at);
    } else {
      weigh_cells(from, z.index.data(), z.weight.data(), z.taps, width, at);
    }
  };
  const auto make_plane = [&](std::int64_t i, float* at) {
    const float* from = source + i * grid.from[1] * grid.from[2];
    rows.clear();
    const auto row = [&](std::int64_t j) -> const float* {
      const float* line = from + j * grid.from[2];
      return z.same ? line : rows.row(j, [&](std::int64_t, float* made) { make_row(line, made); });
    };
    for (std::int64_t j = 0; j < grid.to[1]; ++j) {
      if (y.same) {
        make_row(from + j * grid.from[2], at + j * width);
      } else {
        weigh_rows(y, j, width, at + j * width, row);
      }
    }
  };
  const auto plane_at = [&](std::int64_t i) -> const float* { return y.same && z.same ? source + i * plane : planes.row(i, make_plane); };
  for (std::int64_t i = 0; i < grid.to[0]; ++i) {
    if (x.same) {
      make_plane(i, into + i * plane);
    } else {
      weigh_rows(x, i, plane, into + i * plane, plane_at);
    }
  }
}

void resample_nearest(const ResampleGrid& grid, const float* source, float* into) { resample_cells(grid, source, into); }
void resample_nearest(const ResampleGrid& grid, const std::int32_t* source, std::int32_t* into) { resample_cells(grid, source, into); }
void resample_nearest(const ResampleGrid& grid, const std::uint8_t* source, std::uint8_t* into) { resample_cells(grid, source, into); }

}  // namespace sslmed::transforms
