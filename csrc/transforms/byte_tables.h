#pragma once
// Functions of a byte as tables, each made once, and matrices of three colours.

#include <array>
#include <cstddef>

#include "transforms/density.h"

namespace sslmed::transforms {

using Table = std::array<double, 256>;
using Vector3 = std::array<double, 3>;
using Matrix3 = std::array<Vector3, 3>;

template <class F>
Table table_of(F&& value) {
  Table table{};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = value(static_cast<double>(i));
  return table;
}

inline const Table& densities_of_bytes() {
  static const Table table = table_of(macenko_density);
  return table;
}

inline const Table& light_of_bytes() {
  static const Table table = table_of(linear_light);
  return table;
}

inline Matrix3 inverse(const Matrix3& m) {
  Matrix3 out{};
  const auto minor = [&](std::size_t i, std::size_t j) {
    const std::size_t a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
    return m[a][c] * m[b][d] - m[a][d] * m[b][c];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) out[j][i] = minor(i, j) / determinant;
  return out;
}

}  // namespace sslmed::transforms
