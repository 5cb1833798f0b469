#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "transforms/symmetric.h"

using namespace sslmed;
using transforms::inverse_root;

namespace {

std::vector<double> product(const std::vector<double>& a, const std::vector<double>& b, std::int64_t n) {
  std::vector<double> out(a.size(), 0.0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t k = 0; k < n; ++k)
        out[static_cast<std::size_t>(i * n + j)] += a[static_cast<std::size_t>(i * n + k)] * b[static_cast<std::size_t>(k * n + j)];
  return out;
}

}  // namespace

TEST_CASE("eigenvectors of a symmetric matrix are its own") {
  const std::vector<double> a{4, 1, -2, 1, 3, 0.5, -2, 0.5, 6};
  const auto [values, vectors] = transforms::symmetric_eigen(a, 3);
  const auto image = product(a, vectors, 3);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t e = 0; e < 3; ++e) CHECK(std::abs(image[3 * i + e] - values[e] * vectors[3 * i + e]) < 1e-14);
  CHECK(std::abs(values[0] + values[1] + values[2] - 13) < 1e-14);
}

TEST_CASE("the inverse root turns a covariance into the identity, on the space that it spans") {
  for (const std::int64_t n : {1, 2, 7, 64}) {
    for (const std::int64_t rank : {n, n - 1}) {
      if (rank == 0) continue;
      // Sum of `rank` outer products, of sizes a thousand apart.
      std::vector<double> a(static_cast<std::size_t>(n * n), 0.0);
      Philox random({static_cast<std::uint64_t>(n), 0, 0}, Stream::kMask, true);
      for (std::int64_t r = 0; r < rank; ++r) {
        std::vector<double> x(static_cast<std::size_t>(n));
        for (auto& value : x) value = random.normal() * (r % 2 == 0 ? 30 : 1);
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = 0; j < n; ++j) a[static_cast<std::size_t>(i * n + j)] += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(j)];
      }
      const auto root = inverse_root(a, n, 1e-10);
      const auto p = product(product(root, a, n), root, n);
      double trace = 0;
      for (std::int64_t i = 0; i < n; ++i) trace += p[static_cast<std::size_t>(i * n + i)];
      CHECK(trace == Approx(static_cast<double>(rank)).epsilon(1e-8));
      const auto twice = product(p, p, n);  // a projection
      for (std::size_t i = 0; i < p.size(); ++i) REQUIRE(std::abs(twice[i] - p[i]) < 1e-6);
      if (rank == n)
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = 0; j < n; ++j) REQUIRE(std::abs(p[static_cast<std::size_t>(i * n + j)] - (i == j ? 1 : 0)) < 1e-6);
    }
  }
  CHECK(inverse_root({0, 0, 0, 0}, 2) == std::vector<double>{0, 0, 0, 0});
  CHECK(inverse_root({4, 0, 0, 0}, 2) == std::vector<double>{0.5, 0, 0, 0});
}
