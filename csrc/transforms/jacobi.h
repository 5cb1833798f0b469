#pragma once
// Eigenvalues of small symmetric matrices, on the CPU and in kernels.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/device.h"

namespace sslmed::transforms {

// Cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 8.5): slow for large matrices, exact to rounding for small ones.
// a [n, n] becomes diagonal, v [n, n] its vectors, one a column.
template <class Matrix>
SSLMED_FORMULA void jacobi(Matrix& a, Matrix& v, std::size_t n) {
  double size = 0;
  for (std::size_t i = 0; i < n * n; ++i) {
    v[i] = i % (n + 1) == 0 ? 1 : 0;
    size = std::fmax(size, std::fabs(a[i]));
  }
  for (int sweep = 0; sweep < 60; ++sweep) {
    double largest = 0;
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t q = p + 1; q < n; ++q) largest = std::fmax(largest, std::fabs(a[p * n + q]));
    if (largest <= 1e-17 * size) break;
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
        const double t = std::copysign(1 / (std::fabs(theta) + std::sqrt(theta * theta + 1)), theta);
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (std::size_t k = 0; k < n; ++k) {
          const double x = a[k * n + p], y = a[k * n + q];
          a[k * n + p] = c * x - s * y;
          a[k * n + q] = s * x + c * y;
        }
        for (std::size_t k = 0; k < n; ++k) {
          const double x = a[p * n + k], y = a[q * n + k];
          a[p * n + k] = c * x - s * y;
          a[q * n + k] = s * x + c * y;
        }
        for (std::size_t k = 0; k < n; ++k) {
          const double x = v[k * n + p], y = v[k * n + q];
          v[k * n + p] = c * x - s * y;
          v[k * n + q] = s * x + c * y;
        }
      }
    }
  }
}

}  // namespace sslmed::transforms
