#pragma once
// Symmetric matrices of a few channels.

#include <cstdint>
#include <vector>

namespace sslmed::transforms {

struct Eigen {
  std::vector<double> values;   // [n], in no order
  std::vector<double> vectors;  // [n, n], one a column
};

// Of a symmetric A [n, n].
Eigen symmetric_eigen(std::vector<double> a, std::int64_t n);

// A^(-1/2) of a symmetric positive semi-definite A [n, n], on the space that it spans: directions with less than `floor` of the
// largest eigenvalue become zero. All zero where A is.
std::vector<double> inverse_root(std::vector<double> a, std::int64_t n, double floor = 1e-8);

}  // namespace sslmed::transforms
