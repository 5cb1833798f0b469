#pragma once
// Where the cells of a result lie in what it was made of: one affine map for crops, flips, quarter turns, resizing and affine changes, in any rank. Arrays,
// label maps, points and boxes follow the same map, so they cannot come apart.

#include <cstdint>
#include <vector>

namespace sslmed::transforms {

// Coordinates count in cells along each axis (row-major order of axes): cell i covers [i, i + 1), its middle is at i + 0.5.
struct Geometry {
  std::vector<std::int64_t> from, to;  // cells of the source and of the result along each axis
  std::vector<double> matrix;          // [rank, rank], row-major: source = matrix · result + offset
  std::vector<double> offset;          // [rank]

  static Geometry identity(const std::vector<std::int64_t>& shape);
  // Each of these is done to the result of what is there.
  Geometry& crop(const std::vector<std::int64_t>& first, const std::vector<std::int64_t>& shape);
  Geometry& flip(std::size_t axis);
  // By `quarters` of a turn in the plane of two axes, as torch.rot90(x, quarters, (a, b)).
  Geometry& turn(std::size_t a, std::size_t b, int quarters);
  Geometry& resize(const std::vector<std::int64_t>& shape);
  // source = matrix · result + offset of this step; the result has `shape`.
  Geometry& affine(const std::vector<double>& matrix, const std::vector<double>& offset, const std::vector<std::int64_t>& shape);

  std::size_t rank() const noexcept { return from.size(); }
  // Whether every cell of the result is one cell of the source: crops, flips and turns.
  bool is_exact() const;
  // [rank] source coordinates of a place in the result, and back. `inverse` needs a map that does not fold space: ValueError.
  void source_of(const double* result, double* source) const;
  Geometry inverse() const;
};

enum class Interpolation {
  kNearest,  // label maps
  kLinear,
};

// source [from…, channels] to into [to…, channels]; cells whose middle lies outside of the source get `outside`. T is float, uint8 (rounded) or int32.
// An exact geometry copies cells, whatever the interpolation.
template <class T>
void resample(const Geometry& geometry, const T* source, std::int64_t channels, Interpolation interpolation, T outside, T* into);

}  // namespace sslmed::transforms
