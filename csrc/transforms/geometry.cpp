#include "transforms/geometry.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>

#include "core/error.h"

namespace sslmed::transforms {
namespace {

void check_axis(const char* what, std::size_t axis, std::size_t rank) {
  if (axis >= rank) throw ValueError(std::string(what) + ": axis=" + std::to_string(axis) + " must be below the rank " + std::to_string(rank));
}

void check_shape(const char* what, const std::vector<std::int64_t>& shape, std::size_t rank) {
  if (shape.size() != rank)
    throw ValueError(std::string(what) + ": shape has " + std::to_string(shape.size()) + " axes, expected the rank " + std::to_string(rank));
  for (const auto extent : shape)
    if (extent < 1) throw ValueError(std::string(what) + ": shape must be positive, got " + std::to_string(extent));
}

bool is_whole(double value) { return value == std::round(value); }

template <class T>
T rounded(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return static_cast<T>(std::clamp(std::lround(value), 0L, 255L));
  } else {
    return static_cast<T>(std::llround(value));
  }
}

// Visits the places of a grid in row-major order.
template <class F>
void over(const std::vector<std::int64_t>& shape, F&& visit) {
  std::vector<std::int64_t> at(shape.size(), 0);
  std::int64_t cells = 1;
  for (const auto extent : shape) cells *= extent;
  for (std::int64_t cell = 0; cell < cells; ++cell) {
    visit(cell, at);
    for (auto axis = static_cast<std::int64_t>(shape.size()) - 1; axis >= 0 && ++at[static_cast<std::size_t>(axis)] == shape[static_cast<std::size_t>(axis)];
         --axis)
      at[static_cast<std::size_t>(axis)] = 0;
  }
}

}  // namespace

Geometry Geometry::identity(const std::vector<std::int64_t>& shape) {
  check_shape("identity", shape, shape.size());
  Geometry out{shape, shape, std::vector<double>(shape.size() * shape.size(), 0.0), std::vector<double>(shape.size(), 0.0)};
  for (std::size_t i = 0; i < shape.size(); ++i) out.matrix[i * shape.size() + i] = 1;
  return out;
}

Geometry& Geometry::affine(const std::vector<double>& step, const std::vector<double>& shift, const std::vector<std::int64_t>& shape) {
  const auto n = rank();
  check_shape("affine", shape, n);
  if (step.size() != n * n || shift.size() != n)
    throw ValueError("affine: matrix and offset have " + std::to_string(step.size()) + " and " + std::to_string(shift.size()) + " numbers, expected " +
                     std::to_string(n * n) + " and " + std::to_string(n));
  std::vector<double> joint(n * n, 0.0), moved = offset;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < n; ++k) {
      moved[i] += matrix[i * n + k] * shift[k];
      for (std::size_t j = 0; j < n; ++j) joint[i * n + j] += matrix[i * n + k] * step[k * n + j];
    }
  }
  matrix = std::move(joint);
  offset = std::move(moved);
  to = shape;
  return *this;
}

Geometry& Geometry::crop(const std::vector<std::int64_t>& first, const std::vector<std::int64_t>& shape) {
  check_shape("crop", shape, rank());
  check_shape("crop", std::vector<std::int64_t>(first.size(), 1), rank());
  auto step = identity(to);
  for (std::size_t i = 0; i < rank(); ++i) {
    if (first[i] < 0 || first[i] + shape[i] > to[i])
      throw ValueError("crop: cells " + std::to_string(first[i]) + " to " + std::to_string(first[i] + shape[i]) + " of axis " + std::to_string(i) +
                       " are not within its " + std::to_string(to[i]));
    step.offset[i] = static_cast<double>(first[i]);
  }
  return affine(step.matrix, step.offset, shape);
}

Geometry& Geometry::flip(std::size_t axis) {
  check_axis("flip", axis, rank());
  auto step = identity(to);
  step.matrix[axis * rank() + axis] = -1;
  step.offset[axis] = static_cast<double>(to[axis]);
  return affine(step.matrix, step.offset, to);
}

Geometry& Geometry::turn(std::size_t a, std::size_t b, int quarters) {
  check_axis("turn", a, rank());
  check_axis("turn", b, rank());
  if (a == b) throw ValueError("turn: the axes of a plane must differ, got " + std::to_string(a) + " twice");
  for (int i = 0; i < ((quarters % 4) + 4) % 4; ++i) {
    // rot90: result[i, j] = source[j, n_b - 1 - i].
    auto step = identity(to);
    auto shape = to;
    std::swap(shape[a], shape[b]);
    step.matrix[a * rank() + a] = step.matrix[b * rank() + b] = 0;
    step.matrix[a * rank() + b] = 1;
    step.matrix[b * rank() + a] = -1;
    step.offset[b] = static_cast<double>(to[b]);
    affine(step.matrix, step.offset, shape);
  }
  return *this;
}

Geometry& Geometry::resize(const std::vector<std::int64_t>& shape) {
  check_shape("resize", shape, rank());
  auto step = identity(to);
  for (std::size_t i = 0; i < rank(); ++i) step.matrix[i * rank() + i] = static_cast<double>(to[i]) / static_cast<double>(shape[i]);
  return affine(step.matrix, step.offset, shape);
}

bool Geometry::is_exact() const {
  const auto n = rank();
  for (std::size_t i = 0; i < n; ++i) {
    int ones = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const double value = std::abs(matrix[i * n + j]);
      if (value != 0 && value != 1) return false;
      ones += value == 1 ? 1 : 0;
    }
    if (ones != 1 || !is_whole(offset[i])) return false;
  }
  return true;
}

void Geometry::source_of(const double* result, double* source) const {
  const auto n = rank();
  for (std::size_t i = 0; i < n; ++i) {
    source[i] = offset[i];
    for (std::size_t j = 0; j < n; ++j) source[i] += matrix[i * n + j] * result[j];
  }
}

Geometry Geometry::inverse() const {
  const auto n = rank();
  auto left = matrix;
  auto out = identity(to);
  for (std::size_t column = 0; column < n; ++column) {
    std::size_t pivot = column;
    for (std::size_t row = column + 1; row < n; ++row)
      if (std::abs(left[row * n + column]) > std::abs(left[pivot * n + column])) pivot = row;
    const double by = left[pivot * n + column];
    if (!(std::abs(by) > 1e-12)) throw ValueError("inverse: the matrix of this geometry is singular");
    for (std::size_t j = 0; j < n; ++j) {
      std::swap(left[pivot * n + j], left[column * n + j]);
      std::swap(out.matrix[pivot * n + j], out.matrix[column * n + j]);
    }
    for (std::size_t j = 0; j < n; ++j) {
      left[column * n + j] /= by;
      out.matrix[column * n + j] /= by;
    }
    for (std::size_t row = 0; row < n; ++row) {
      const double factor = left[row * n + column];
      if (row == column || factor == 0) continue;
      for (std::size_t j = 0; j < n; ++j) {
        left[row * n + j] -= factor * left[column * n + j];
        out.matrix[row * n + j] -= factor * out.matrix[column * n + j];
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) out.offset[i] -= out.matrix[i * n + j] * offset[j];
  out.from = to;
  out.to = from;
  return out;
}

template <class T>
void resample(const Geometry& geometry, const T* source, std::int64_t channels, Interpolation interpolation, T outside, T* into) {
  const auto n = geometry.rank();
  const bool nearest = interpolation == Interpolation::kNearest || geometry.is_exact();
  std::vector<std::int64_t> strides(n, channels);
  for (std::size_t i = n; i-- > 1;) strides[i - 1] = strides[i] * geometry.from[i];
  std::vector<double> middle(n), at(n);
  std::vector<std::int64_t> low(n);
  over(geometry.to, [&](std::int64_t cell, const std::vector<std::int64_t>& place) {
    for (std::size_t i = 0; i < n; ++i) middle[i] = static_cast<double>(place[i]) + 0.5;
    geometry.source_of(middle.data(), at.data());
    bool inside = true;
    for (std::size_t i = 0; i < n; ++i) inside = inside && at[i] >= 0 && at[i] < static_cast<double>(geometry.from[i]);
    T* to = into + cell * channels;
    if (!inside) {
      std::fill_n(to, channels, outside);
      return;
    }
    if (nearest) {
      const T* from = source;
      for (std::size_t i = 0; i < n; ++i) from += strides[i] * static_cast<std::int64_t>(std::floor(at[i]));
      std::copy_n(from, channels, to);
      return;
    }
    // Weights of the two neighbours along each axis; the edge's cells stand for what lies beyond it.
    for (std::size_t i = 0; i < n; ++i) {
      at[i] = std::clamp(at[i] - 0.5, 0.0, static_cast<double>(geometry.from[i] - 1));
      low[i] = std::min<std::int64_t>(static_cast<std::int64_t>(at[i]), std::max<std::int64_t>(geometry.from[i] - 2, 0));
      at[i] -= static_cast<double>(low[i]);
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (std::size_t corner = 0; corner < (std::size_t{1} << n); ++corner) {
        double weight = 1;
        const T* from = source + c;
        for (std::size_t i = 0; i < n; ++i) {
          const bool high = (corner >> i & 1) != 0;
          weight *= high ? at[i] : 1 - at[i];
          from += strides[i] * (low[i] + (high ? 1 : 0));
          if (weight == 0) break;
        }
        if (weight != 0) sum += weight * static_cast<double>(*from);
      }
      to[c] = rounded<T>(sum);
    }
  });
}

template void resample(const Geometry&, const float*, std::int64_t, Interpolation, float, float*);
template void resample(const Geometry&, const std::uint8_t*, std::int64_t, Interpolation, std::uint8_t, std::uint8_t*);
template void resample(const Geometry&, const std::int32_t*, std::int64_t, Interpolation, std::int32_t, std::int32_t*);

}  // namespace sslmed::transforms
