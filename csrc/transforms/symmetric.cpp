#include "transforms/symmetric.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sslmed::transforms {

// Cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 8.5): slow for large matrices, exact to rounding for small ones.
Eigen symmetric_eigen(std::vector<double> a, std::int64_t n) {
  const auto at = [n](std::int64_t i, std::int64_t j) { return static_cast<std::size_t>(i * n + j); };
  std::vector<double> v(a.size(), 0.0);
  for (std::int64_t i = 0; i < n; ++i) v[at(i, i)] = 1;
  double size = 0;
  for (const double x : a) size = std::max(size, std::abs(x));
  for (int sweep = 0; sweep < 60; ++sweep) {
    double largest = 0;
    for (std::int64_t p = 0; p < n; ++p)
      for (std::int64_t q = p + 1; q < n; ++q) largest = std::max(largest, std::abs(a[at(p, q)]));
    if (largest <= 1e-17 * size) break;
    for (std::int64_t p = 0; p < n; ++p) {
      for (std::int64_t q = p + 1; q < n; ++q) {
        if (a[at(p, q)] == 0) continue;
        const double theta = (a[at(q, q)] - a[at(p, p)]) / (2 * a[at(p, q)]);
        const double t = std::copysign(1 / (std::abs(theta) + std::sqrt(theta * theta + 1)), theta);
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (std::int64_t k = 0; k < n; ++k) {
          const double x = a[at(k, p)], y = a[at(k, q)];
          a[at(k, p)] = c * x - s * y;
          a[at(k, q)] = s * x + c * y;
        }
        for (std::int64_t k = 0; k < n; ++k) {
          const double x = a[at(p, k)], y = a[at(q, k)];
          a[at(p, k)] = c * x - s * y;
          a[at(q, k)] = s * x + c * y;
        }
        for (std::int64_t k = 0; k < n; ++k) {
          const double x = v[at(k, p)], y = v[at(k, q)];
          v[at(k, p)] = c * x - s * y;
          v[at(k, q)] = s * x + c * y;
        }
      }
    }
  }
  Eigen eigen{std::vector<double>(static_cast<std::size_t>(n)), std::move(v)};
  for (std::int64_t i = 0; i < n; ++i) eigen.values[static_cast<std::size_t>(i)] = a[at(i, i)];
  return eigen;
}

std::vector<double> inverse_root(std::vector<double> a, std::int64_t n, double floor) {
  const auto at = [n](std::int64_t i, std::int64_t j) { return static_cast<std::size_t>(i * n + j); };
  std::vector<double> out(a.size(), 0.0);
  const auto [values, v] = symmetric_eigen(std::move(a), n);
  double top = 0;
  for (const double value : values) top = std::max(top, value);
  for (std::int64_t e = 0; e < n; ++e) {
    const double value = values[static_cast<std::size_t>(e)];
    if (!(value > floor * top)) continue;
    const double weight = 1 / std::sqrt(value);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) out[at(i, j)] += weight * v[at(i, e)] * v[at(j, e)];
  }
  return out;
}

}  // namespace sslmed::transforms
