#include "transforms/symmetric.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "transforms/jacobi.h"

namespace sslmed::transforms {

Eigen symmetric_eigen(std::vector<double> a, std::int64_t n) {
  const auto at = [n](std::int64_t i, std::int64_t j) { return static_cast<std::size_t>(i * n + j); };
  std::vector<double> v(a.size());
  jacobi(a, v, static_cast<std::size_t>(n));
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
