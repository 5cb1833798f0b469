#include "transforms/orientation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

using Matrix3 = std::array<std::array<double, 3>, 3>;

Matrix3 inverse3(const Matrix3& m) {
  Matrix3 out;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      const auto a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
      out[i][j] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
    }
  const double determinant = m[0][0] * out[0][0] + m[0][1] * out[1][0] + m[0][2] * out[2][0];
  double volume = 1;  // of cells that stand upright: what is flat depends on their size
  for (std::size_t j = 0; j < 3; ++j) volume *= std::sqrt(m[0][j] * m[0][j] + m[1][j] * m[1][j] + m[2][j] * m[2][j]);
  if (!(std::abs(determinant) > 1e-12 * volume)) throw ValueError("an affine whose axes do not span space");
  for (auto& row : out)
    for (auto& value : row) value /= determinant;
  return out;
}

// The rotation (or reflection) nearest to a matrix, by Newton's iteration (Higham, 1986).
Matrix3 polar_factor(Matrix3 m) {
  for (int step = 0; step < 60; ++step) {
    const auto inverted = inverse3(m);
    double change = 0;
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j) {
        const double next = 0.5 * (m[i][j] + inverted[j][i]);
        change = std::max(change, std::abs(next - m[i][j]));
        m[i][j] = next;
      }
    if (change < 1e-14) break;
  }
  return m;
}

constexpr std::int64_t kTile = 16;

}  // namespace

std::string Orientation::text() const {
  const char* letters[2] = {"RAS", "LPI"};
  std::string out = "   ";
  for (std::size_t a = 0; a < 3; ++a) out[axis[a]] = letters[flip[a] ? 1 : 0][a];
  return out;
}

Orientation closest_canonical(const Affine3& affine) {
  Matrix3 m;
  for (std::size_t j = 0; j < 3; ++j) {
    double norm = 0;
    for (std::size_t i = 0; i < 3; ++i) norm += affine[4 * i + j] * affine[4 * i + j];
    norm = std::sqrt(norm);
    if (!(norm > 0) || !std::isfinite(norm)) throw ValueError("an affine whose axes do not span space");
    for (std::size_t i = 0; i < 3; ++i) m[i][j] = affine[4 * i + j] / norm;
  }
  m = polar_factor(m);
  // The source's most definite axis chooses first.
  const auto largest = [&](std::size_t j) { return std::max({m[0][j] * m[0][j], m[1][j] * m[1][j], m[2][j] * m[2][j]}); };
  std::array<std::size_t, 3> order{0, 1, 2};
  const std::array<double, 3> definite{largest(0), largest(1), largest(2)};
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return definite[a] > definite[b]; });
  Orientation out;
  std::array<bool, 3> taken{};
  for (const auto j : order) {
    std::size_t best = 3;
    for (std::size_t i = 0; i < 3; ++i)
      if (!taken[i] && (best == 3 || std::abs(m[i][j]) > std::abs(m[best][j]))) best = i;
    taken[best] = true;
    out.axis[best] = j;
    out.flip[best] = m[best][j] < 0;
  }
  return out;
}

Affine3 reoriented(const Affine3& affine, const std::array<std::int64_t, 3>& shape, const Orientation& orientation) {
  Affine3 out = affine;
  for (std::size_t i = 0; i < 3; ++i) {
    out[4 * i + 3] = affine[4 * i + 3];
    for (std::size_t a = 0; a < 3; ++a) {
      const auto from = affine[4 * i + orientation.axis[a]];
      out[4 * i + a] = orientation.flip[a] ? -from : from;
      if (orientation.flip[a]) out[4 * i + 3] += from * static_cast<double>(shape[orientation.axis[a]] - 1);
    }
  }
  return out;
}

std::vector<float> reorient(const std::vector<float>& values, const std::array<std::int64_t, 3>& shape, const Orientation& orientation) {
  const std::array<std::int64_t, 3> strides{1, shape[0], shape[0] * shape[1]};
  std::array<std::int64_t, 3> to, step;
  std::int64_t start = 0;
  for (std::size_t a = 0; a < 3; ++a) {
    const auto axis = orientation.axis[a];
    to[a] = shape[axis];
    step[a] = orientation.flip[a] ? -strides[axis] : strides[axis];
    if (orientation.flip[a]) start += strides[axis] * (shape[axis] - 1);
  }
  std::vector<float> out(values.size());
  // Tiles over the two outer axes and the inner one, so that both sides stay within the cache.
  for (std::int64_t x0 = 0; x0 < to[0]; x0 += kTile)
    for (std::int64_t y0 = 0; y0 < to[1]; y0 += kTile)
      for (std::int64_t z0 = 0; z0 < to[2]; z0 += kTile)
        for (auto x = x0; x < std::min(x0 + kTile, to[0]); ++x)
          for (auto y = y0; y < std::min(y0 + kTile, to[1]); ++y) {
            auto* row = out.data() + (x * to[1] + y) * to[2];
            const auto* from = values.data() + start + x * step[0] + y * step[1];
            for (auto z = z0; z < std::min(z0 + kTile, to[2]); ++z) row[z] = from[z * step[2]];
          }
  return out;
}

Affine3 inverse(const Affine3& affine) {
  Matrix3 m;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) m[i][j] = affine[4 * i + j];
  const auto inverted = inverse3(m);
  Affine3 out{};
  out[15] = 1;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      out[4 * i + j] = inverted[i][j];
      out[4 * i + 3] -= inverted[i][j] * affine[4 * j + 3];
    }
  return out;
}

Affine3 product(const Affine3& a, const Affine3& b) {
  Affine3 out{};
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < 4; ++j)
      for (std::size_t k = 0; k < 4; ++k) out[4 * i + j] += a[4 * i + k] * b[4 * k + j];
  return out;
}

void sample_linear(const float* source, const std::array<std::int64_t, 3>& from, const Affine3& map, const std::array<std::int64_t, 3>& to, float* into) {
  const std::array<std::int64_t, 3> strides{from[1] * from[2], from[2], 1};
  for (std::int64_t x = 0; x < to[0]; ++x)
    for (std::int64_t y = 0; y < to[1]; ++y)
      for (std::int64_t z = 0; z < to[2]; ++z, ++into) {
        std::array<std::int64_t, 3> low;
        std::array<double, 3> part;
        for (std::size_t a = 0; a < 3; ++a) {
          const double place =
              map[4 * a] * static_cast<double>(x) + map[4 * a + 1] * static_cast<double>(y) + map[4 * a + 2] * static_cast<double>(z) + map[4 * a + 3];
          const double at = std::clamp(place, 0.0, static_cast<double>(from[a] - 1));
          low[a] = std::min(static_cast<std::int64_t>(at), std::max<std::int64_t>(from[a] - 2, 0));
          part[a] = at - static_cast<double>(low[a]);
        }
        double sum = 0;
        for (unsigned corner = 0; corner < 8; ++corner) {
          double weight = 1;
          std::int64_t cell = 0;
          for (std::size_t a = 0; a < 3; ++a) {
            const bool high = (corner >> a & 1) != 0;
            weight *= high ? part[a] : 1 - part[a];
            cell += strides[a] * std::min(low[a] + (high ? 1 : 0), from[a] - 1);
          }
          if (weight != 0) sum += weight * static_cast<double>(source[cell]);
        }
        *into = static_cast<float>(sum);
      }
}

void sample_nearest(const float* source, const std::array<std::int64_t, 3>& from, const Affine3& map, const std::array<std::int64_t, 3>& to, float* into) {
  const std::array<std::int64_t, 3> strides{from[1] * from[2], from[2], 1};
  for (std::int64_t x = 0; x < to[0]; ++x)
    for (std::int64_t y = 0; y < to[1]; ++y)
      for (std::int64_t z = 0; z < to[2]; ++z, ++into) {
        std::int64_t cell = 0;
        for (std::size_t a = 0; a < 3; ++a) {
          const double place =
              map[4 * a] * static_cast<double>(x) + map[4 * a + 1] * static_cast<double>(y) + map[4 * a + 2] * static_cast<double>(z) + map[4 * a + 3];
          cell += strides[a] * static_cast<std::int64_t>(std::clamp(std::floor(place + 0.5), 0.0, static_cast<double>(from[a] - 1)));
        }
        *into = source[cell];
      }
}

}  // namespace sslmed::transforms
