#include "transforms/volume_warp.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/volume_resample.h"

namespace sslmed::transforms {

// One row of the result along Z.
struct VolumeWarp::Row {
  explicit Row(std::int64_t cells) : n(cells) {
    const auto size = static_cast<std::size_t>(cells);
    for (std::size_t a = 0; a < 3; ++a) {
      place[a].resize(size);
      weight[a].resize(size);
    }
    cell.resize(size);
    inside.resize(size);
  }
  std::int64_t n;
  std::array<std::vector<double>, 3> place;  // in the source
  std::array<std::vector<float>, 3> weight;  // of the upper neighbors
  std::vector<std::int32_t> cell, inside;    // the lower neighbor, or the cell itself; 0 where the place is outside
};

namespace {

bool is_diagonal(const double* matrix) {
  for (int i = 0; i < 9; ++i)
    if (i % 4 != 0 && matrix[i] != 0) return false;
  return true;
}

CellSteps steps_of(const VolumeShape& shape) { return {shape[0] > 1 ? shape[1] * shape[2] : 0, shape[1] > 1 ? shape[2] : 0, shape[2] > 1 ? 1 : 0}; }

SSLMED_CLONES void line_of_places(double start, double step, std::int64_t n, double* __restrict place) {
  for (std::int64_t k = 0; k < n; ++k) place[k] = start + step * static_cast<double>(k);
}

SSLMED_CLONES void add_spline_run(const float* __restrict w0, const float* __restrict w1, const float* __restrict w2, const float* __restrict w3,
                                  const float* c, std::int64_t n, double* __restrict place) {
  const float c0 = c[0], c1 = c[4], c2 = c[8], c3 = c[12];
  for (std::int64_t k = 0; k < n; ++k) place[k] += static_cast<double>(w0[k] * c0 + w1[k] * c1 + (w2[k] * c2 + w3[k] * c3));
}

SSLMED_CLONES void affine_places(const double* m, const double* offset, std::int64_t n, double* __restrict px, double* __restrict py, double* __restrict pz) {
  for (std::int64_t k = 0; k < n; ++k) {
    const double x = px[k], y = py[k], z = pz[k];
    px[k] = m[0] * x + m[1] * y + m[2] * z + offset[0];
    py[k] = m[3] * x + m[4] * y + m[5] * z + offset[1];
    pz[k] = m[6] * x + m[7] * y + m[8] * z + offset[2];
  }
}

// Adds one axis to the lower neighbors and weights: lower_cell() without branches.
SSLMED_CLONES void locate_axis(const double* __restrict place, std::int64_t n, std::int32_t cells, std::int32_t stride, bool begin, float* __restrict weight,
                               std::int32_t* __restrict cell, std::int32_t* __restrict inside) {
  const double last = cells - 1, size = cells;
  const std::int32_t highest = std::max(cells - 2, 0);
  for (std::int64_t k = 0; k < n; ++k) {
    const double p = place[k];
    const double middle = p - 0.5, positive = middle < 0 ? 0 : middle, within = positive > last ? last : positive;
    const auto floor = static_cast<std::int32_t>(within);
    const std::int32_t low = floor < highest ? floor : highest;
    weight[k] = static_cast<float>(within - static_cast<double>(low));
    cell[k] = (begin ? 0 : cell[k]) + low * stride;
    inside[k] = (begin ? -1 : inside[k]) & (p >= 0 ? -1 : 0) & (p < size ? -1 : 0);
  }
}

SSLMED_CLONES void nearest_axis(const double* __restrict place, std::int64_t n, std::int32_t cells, std::int32_t stride, bool begin,
                                std::int32_t* __restrict cell, std::int32_t* __restrict inside) {
  const double size = cells, last = cells - 1;
  for (std::int64_t k = 0; k < n; ++k) {
    const double p = place[k], positive = p < 0 ? 0 : p, within = positive > last ? last : positive;
    // The cast cuts off: within a cell of the last one it must not stop short of it.
    const double whole = positive >= last ? last : within;
    cell[k] = (begin ? 0 : cell[k]) + static_cast<std::int32_t>(whole) * stride;
    inside[k] = (begin ? -1 : inside[k]) & (p >= 0 ? -1 : 0) & (p < size ? -1 : 0);
  }
}

// Two cells along Z at `a`, and two at `b`.
typedef float FourCells __attribute__((vector_size(16)));
SSLMED_INLINE FourCells two_pairs(const float* a, const float* b) {
  typedef double Pairs __attribute__((vector_size(16)));
  double first, second;
  std::memcpy(&first, a, sizeof first);
  std::memcpy(&second, b, sizeof second);
  const Pairs pairs{first, second};
  FourCells out;
  std::memcpy(&out, &pairs, sizeof out);
  return out;
}

// linear_value() of a row; a gather of single cells takes longer than pairs of neighbors, which lie side by side.
SSLMED_CLONES void linear_row(const float* __restrict source, const CellSteps& up, const std::int32_t* __restrict cell, const std::int32_t* __restrict inside,
                              const float* __restrict x, const float* __restrict y, const float* __restrict z, float outside, std::int64_t n,
                              float* __restrict into) {
  typedef std::int32_t Order __attribute__((vector_size(16)));
  for (std::int64_t k = 0; k < n; ++k) {
    const float* at = source + cell[k];
    const FourCells low = two_pairs(at, at + up.y), high = two_pairs(at + up.x, at + up.x + up.y);
    const FourCells along_x = low + x[k] * (high - low);
    const FourCells other = __builtin_shuffle(along_x, Order{2, 3, 2, 3});
    const FourCells along_y = along_x + y[k] * (other - along_x);
    const float value = along_y[0] + z[k] * (along_y[1] - along_y[0]);
    into[k] = inside[k] ? value : outside;
  }
}

// Displacements change little from cell to cell: the parabola through the last three leads close to the next. Whether all
// are found.
SSLMED_CLONES bool undo_row(const WarpStep& step, const float* controls, std::int64_t n, double* px, double* py, double* pz) {
  float last[3][3] = {};  // the newest first
  for (std::int64_t k = 0; k < n; ++k) {
    const double place[3] = {px[k], py[k], pz[k]};
    float by[3];
    for (int a = 0; a < 3; ++a) by[a] = k < 3 ? last[0][a] : 3 * (last[0][a] - last[1][a]) + last[2][a];
    if (!undo_elastic(step, controls, place, kInverseTolerance, by)) return false;
    px[k] -= static_cast<double>(by[0]);
    py[k] -= static_cast<double>(by[1]);
    pz[k] -= static_cast<double>(by[2]);
    for (int a = 0; a < 3; ++a) {
      last[2][a] = last[1][a];
      last[1][a] = last[0][a];
      last[0][a] = by[a];
    }
  }
  return true;
}

SSLMED_CLONES void displace_row(const WarpStep& step, const float* controls, std::int64_t n, double* px, double* py, double* pz) {
  for (std::int64_t k = 0; k < n; ++k) {
    const double place[3] = {px[k], py[k], pz[k]};
    float by[3];
    elastic_at(step, controls, place, by);
    px[k] += static_cast<double>(by[0]);
    py[k] += static_cast<double>(by[1]);
    pz[k] += static_cast<double>(by[2]);
  }
}

SSLMED_CLONES void reverse_row(const float* __restrict last, std::int64_t n, float* __restrict into) {
  for (std::int64_t k = 0; k < n; ++k) into[k] = last[-k];
}

SSLMED_CLONES void reverse_row(const std::int32_t* __restrict last, std::int64_t n, std::int32_t* __restrict into) {
  for (std::int64_t k = 0; k < n; ++k) into[k] = last[-k];
}

SSLMED_CLONES void reverse_row(const std::uint8_t* __restrict last, std::int64_t n, std::uint8_t* __restrict into) {
  for (std::int64_t k = 0; k < n; ++k) into[k] = last[-k];
}

template <class T>
SSLMED_INLINE void take_cells(const T* source, const std::int32_t* cell, const std::int32_t* inside, T outside, std::int64_t n, T* into) {
  for (std::int64_t k = 0; k < n; ++k) {
    const T value = source[cell[k]];
    into[k] = inside[k] ? value : outside;
  }
}

}  // namespace

VolumeWarp::VolumeWarp(VolumeMap map) : map_(std::move(map)), flat_(map_.flat()) {
  choose_path();
  if (path_ != Path::kCopy) plan_rows();  // labels are never separable
}

void VolumeWarp::choose_path() {
  matrix_ = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  if (flat_.steps.size() > 1 || (flat_.steps.size() == 1 && flat_.steps[0].kind != WarpStep::kAffine)) return;
  if (!flat_.steps.empty()) {
    std::copy_n(flat_.steps[0].matrix, 9, matrix_.begin());
    std::copy_n(flat_.steps[0].offset, 3, offset_.begin());
  }
  if (!is_diagonal(matrix_.data())) return;
  bool exact = true, upright = true;
  covers_ = true;
  for (std::size_t a = 0; a < 3; ++a) {
    const double by = matrix_[4 * a], offset = offset_[a], size = static_cast<double>(map_.from[a]);
    exact = exact && std::abs(by) == 1 && offset == std::round(offset);
    upright = upright && by > 0;
    for (const double end : {0.5 * by + offset, (static_cast<double>(map_.to[a]) - 0.5) * by + offset}) covers_ = covers_ && end >= 0 && end < size;
  }
  if (exact) {
    path_ = Path::kCopy;
  } else if (upright && covers_) {
    path_ = Path::kSeparable;
  }
}

void VolumeWarp::plan_rows() {
  const auto& steps = flat_.steps;
  std::array<double, 3> scale{1, 1, 1}, shift{0, 0, 0};  // from cells of the result to places where the displacement is read
  matrix_ = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  offset_ = {0, 0, 0};
  const auto take_affine = [&] {
    if (next_ >= steps.size() || steps[next_].kind != WarpStep::kAffine) return;
    std::copy_n(steps[next_].matrix, 9, matrix_.begin());
    std::copy_n(steps[next_].offset, 3, offset_.begin());
    ++next_;
  };
  const std::size_t second = !steps.empty() && steps[0].kind == WarpStep::kAffine ? 1 : 0;
  const bool mesh = second < steps.size() && steps[second].kind == WarpStep::kElastic && (second == 0 || is_diagonal(steps[0].matrix));
  if (!mesh) {
    take_affine();
    return;
  }
  if (second == 1)
    for (std::size_t a = 0; a < 3; ++a) {
      scale[a] = steps[0].matrix[4 * a];
      shift[a] = steps[0].offset[a];
    }
  const WarpStep& elastic = steps[second];
  next_ = second + 1;
  take_affine();
  for (std::size_t a = 0; a < 3; ++a) {
    points_[a] = elastic.points[a];
    const auto cells = static_cast<std::size_t>(map_.to[a]);
    mesh_[a].first.resize(cells);
    mesh_[a].weights.resize(4 * cells);
    for (std::size_t i = 0; i < cells; ++i) {
      float fraction, weights[4];
      mesh_[a].first[i] = spline_place((static_cast<double>(i) + 0.5) * scale[a] + shift[a], elastic.scale[a], elastic.points[a], fraction);
      spline_weights(fraction, weights);
      for (std::size_t t = 0; t < 4; ++t) mesh_[a].weights[t * cells + i] = weights[t];
    }
  }
  const float* from = flat_.controls.data() + elastic.control;
  controls_.assign(static_cast<std::size_t>(4 * points_[0] * points_[1] * points_[2]), 0.0F);
  for (std::size_t i = 0; i < controls_.size(); i += 4)
    for (std::size_t a = 0; a < 3; ++a)
      for (std::size_t b = 0; b < 3; ++b) controls_[i + a] += static_cast<float>(matrix_[3 * a + b]) * from[i + b];
  // Both affine steps become one that takes the result's cells.
  for (std::size_t a = 0; a < 3; ++a)
    for (std::size_t b = 0; b < 3; ++b) {
      offset_[a] += matrix_[3 * a + b] * shift[b];
      matrix_[3 * a + b] *= scale[b];
    }
}

void VolumeWarp::add_displacement(std::int64_t i, std::int64_t j, Row& row) const {
  // The spline along Z alone: control points weighed along X and Y.
  const auto depth = points_[2];
  float line[4 * 1024];
  std::fill_n(line, 4 * depth, 0.0F);
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b) {
      const float weight = mesh_[0].weights[static_cast<std::size_t>(a * map_.to[0] + i)] * mesh_[1].weights[static_cast<std::size_t>(b * map_.to[1] + j)];
      const auto x = mesh_[0].first[static_cast<std::size_t>(i)] + a, y = mesh_[1].first[static_cast<std::size_t>(j)] + b;
      const float* from = controls_.data() + 4 * depth * (x * points_[1] + y);
      for (std::int64_t c = 0; c < 4 * depth; ++c) line[c] += weight * from[c];
    }
  const auto& z = mesh_[2];
  const float* weights = z.weights.data();
  for (std::int64_t begin = 0; begin < row.n;) {
    const auto first = z.first[static_cast<std::size_t>(begin)];
    auto end = begin + 1;
    while (end < row.n && z.first[static_cast<std::size_t>(end)] == first) ++end;
    for (std::size_t a = 0; a < 3; ++a)
      add_spline_run(weights + begin, weights + row.n + begin, weights + 2 * row.n + begin, weights + 3 * row.n + begin, line + 4 * first + a, end - begin,
                     row.place[a].data() + begin);
    begin = end;
  }
}

void VolumeWarp::follow(const WarpStep& step, Row& row) const {
  auto& [px, py, pz] = row.place;
  if (step.kind == WarpStep::kAffine) {
    affine_places(step.matrix, step.offset, row.n, px.data(), py.data(), pz.data());
    return;
  }
  const float* controls = flat_.controls.data();
  if (step.kind == WarpStep::kElastic) {
    displace_row(step, controls, row.n, px.data(), py.data(), pz.data());
  } else if (!undo_row(step, controls, row.n, px.data(), py.data(), pz.data())) {
    throw_folded();
  }
}

void VolumeWarp::places(std::int64_t i, std::int64_t j, Row& row) const {
  const double x = static_cast<double>(i) + 0.5, y = static_cast<double>(j) + 0.5;
  for (std::size_t a = 0; a < 3; ++a) {
    const double* m = matrix_.data() + 3 * a;
    line_of_places(m[0] * x + m[1] * y + m[2] * 0.5 + offset_[a], m[2], row.n, row.place[a].data());
  }
  if (!controls_.empty()) add_displacement(i, j, row);
  for (auto step = next_; step < flat_.steps.size(); ++step) follow(flat_.steps[step], row);
}

template <class T>
void VolumeWarp::copy_planes(const T* source, T outside, std::int64_t first, std::int64_t last, T* into) const {
  // Source cell = start + by · cell; cells [low, high) of the result lie within the source.
  std::array<std::int64_t, 3> start, by, low, high;
  for (std::size_t a = 0; a < 3; ++a) {
    by[a] = matrix_[4 * a] > 0 ? 1 : -1;
    start[a] = static_cast<std::int64_t>(offset_[a]) - (by[a] < 0 ? 1 : 0);
    const auto end = by[a] > 0 ? map_.from[a] - start[a] : start[a] + 1, begin = by[a] > 0 ? -start[a] : start[a] - map_.from[a] + 1;
    low[a] = std::clamp<std::int64_t>(begin, 0, map_.to[a]);
    high[a] = std::clamp<std::int64_t>(end, low[a], map_.to[a]);
  }
  const auto within = [&](std::size_t a, std::int64_t cell) { return cell >= low[a] && cell < high[a]; };
  for (auto i = first; i < last; ++i)
    for (std::int64_t j = 0; j < map_.to[1]; ++j) {
      T* row = into + (i * map_.to[1] + j) * map_.to[2];
      if (!within(0, i) || !within(1, j)) {
        std::fill_n(row, map_.to[2], outside);
        continue;
      }
      const T* from = source + ((start[0] + by[0] * i) * map_.from[1] + start[1] + by[1] * j) * map_.from[2];
      std::fill_n(row, low[2], outside);
      std::fill_n(row + high[2], map_.to[2] - high[2], outside);
      if (by[2] > 0) {
        std::copy(from + start[2] + low[2], from + start[2] + high[2], row + low[2]);
      } else {
        reverse_row(from + start[2] - low[2], high[2] - low[2], row + low[2]);
      }
    }
}

template <class T>
void VolumeWarp::separable_planes(const T* source, VolumeInterpolation how, std::int64_t first, std::int64_t last, T* into) const {
  ResampleGrid grid{map_.from, map_.to, {1, 1, 1}, {matrix_[0], matrix_[4], matrix_[8]}, offset_};
  grid.to[0] = last - first;
  grid.offset[0] += static_cast<double>(first) * matrix_[0];
  T* planes = into + first * map_.to[1] * map_.to[2];
  if constexpr (std::is_same_v<T, float>) {
    if (how == VolumeInterpolation::kLinear) {
      resample_linear(grid, source, false, planes);
      return;
    }
  }
  resample_nearest(grid, source, planes);
}

template <class T>
void VolumeWarp::value_row(const T* source, VolumeInterpolation how, const CellSteps& up, T outside, const Row& row, T* into) {
  const auto &x = row.weight[0], &y = row.weight[1], &z = row.weight[2];
  if (how == VolumeInterpolation::kNearest) return take_cells(source, row.cell.data(), row.inside.data(), outside, row.n, into);
  if constexpr (std::is_same_v<T, float>) {
    if (how == VolumeInterpolation::kLinear && up.z == 1)
      return linear_row(source, up, row.cell.data(), row.inside.data(), x.data(), y.data(), z.data(), outside, row.n, into);
  }
  for (std::size_t k = 0; k < row.cell.size(); ++k) {
    into[k] = outside;
    if (!row.inside[k]) continue;
    const T* at = source + row.cell[k];
    if constexpr (std::is_same_v<T, float>) {
      if (how == VolumeInterpolation::kLinear) {
        into[k] = linear_value(at, up, x[k], y[k], z[k]);
        continue;
      }
    }
    into[k] = label_value(at, up, x[k], y[k], z[k]);
  }
}

template <class T>
void VolumeWarp::planes(const T* source, VolumeInterpolation how, T outside, std::int64_t first, std::int64_t last, T* into) const {
  if (how == VolumeInterpolation::kLinear && !std::is_same_v<T, float>)
    throw ValueError("volume: interpolation='linear' needs float32 values; whole numbers take 'nearest' or 'label'");
  if (first >= last) return;
  if (path_ == Path::kCopy) return copy_planes(source, outside, first, last, into);
  if (path_ == Path::kSeparable && how != VolumeInterpolation::kLabel) return separable_planes(source, how, first, last, into);
  const auto cells = [&](std::size_t a) { return static_cast<std::int32_t>(map_.from[a]); };
  const std::array<std::int32_t, 3> strides{cells(1) * cells(2), cells(2), 1};
  const auto up = steps_of(map_.from);
  Row row(map_.to[2]);
  for (auto i = first; i < last; ++i)
    for (std::int64_t j = 0; j < map_.to[1]; ++j) {
      places(i, j, row);
      T* out = into + (i * map_.to[1] + j) * map_.to[2];
      for (std::size_t a = 0; a < 3; ++a) {
        if (how == VolumeInterpolation::kNearest) {
          nearest_axis(row.place[a].data(), row.n, cells(a), strides[a], a == 0, row.cell.data(), row.inside.data());
        } else {
          locate_axis(row.place[a].data(), row.n, cells(a), strides[a], a == 0, row.weight[a].data(), row.cell.data(), row.inside.data());
        }
      }
      value_row(source, how, up, outside, row, out);
    }
}

template void VolumeWarp::planes<float>(const float*, VolumeInterpolation, float, std::int64_t, std::int64_t, float*) const;
template void VolumeWarp::planes<std::int32_t>(const std::int32_t*, VolumeInterpolation, std::int32_t, std::int64_t, std::int64_t, std::int32_t*) const;
template void VolumeWarp::planes<std::uint8_t>(const std::uint8_t*, VolumeInterpolation, std::uint8_t, std::int64_t, std::int64_t, std::uint8_t*) const;

}  // namespace sslmed::transforms
