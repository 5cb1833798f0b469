#pragma once
// Where a place of a warped volume comes from, and its value there: the same formulas in the CPU's loops and in CUDA
// kernels. Places count in cells: cell i covers [i, i + 1), its middle is at i + 0.5.

#include <cmath>
#include <cstdint>

#include "core/device.h"

namespace sslmed::transforms {

// One step from a place of a result to a place of what it was made of, as plain bytes.
struct WarpStep {
  enum Kind : std::int32_t { kAffine, kElastic, kElasticInverse };
  Kind kind;
  std::int32_t points[3];       // control points along each axis
  double matrix[9], offset[3];  // kAffine: source = matrix · result + offset
  double scale[3];              // elastic: meshes of the spline a cell
  std::int64_t control;         // elastic: the first of its numbers among all controls, [points…, 4] cells
};

// The mesh reaches this far beyond the volume on each side, in cells (ITK's BSplineTransformInitializer).
constexpr double kMeshMargin = 0.125;
// The search for the inverse of a displacement ends when a step is smaller than this, in cells, or after so many steps.
constexpr float kInverseTolerance = 1e-4F;
constexpr int kMostInverseSteps = 200;

// Weights of four control points at `fraction` of the mesh between the middle two.
SSLMED_FORMULA void spline_weights(float fraction, float (&weights)[4]) {
  const float f = fraction, g = 1 - fraction;
  weights[0] = g * g * g * (1.0F / 6);
  weights[1] = (3 * f - 6) * f * f * (1.0F / 6) + 2.0F / 3;
  weights[2] = (3 * g - 6) * g * g * (1.0F / 6) + 2.0F / 3;
  weights[3] = f * f * f * (1.0F / 6);
}

// The first of the four control points at a place along one axis. Beyond the mesh its edge goes on.
SSLMED_FORMULA std::int32_t spline_place(double place, double scale, std::int32_t points, float& fraction) {
  const double most = points - 3, there = (place + kMeshMargin) * scale;
  const double within = there < 0 ? 0 : there > most ? most : there;
  const auto floor = static_cast<std::int32_t>(within), first = floor < points - 4 ? floor : points - 4;
  fraction = static_cast<float>(within - first);
  return first;
}

// The displacement at a place, in cells.
SSLMED_FORMULA void elastic_at(const WarpStep& step, const float* controls, const double* place, float (&by)[3]) {
  float weights[3][4];
  std::int32_t first[3];
  for (int a = 0; a < 3; ++a) {
    float fraction;
    first[a] = spline_place(place[a], step.scale[a], step.points[a], fraction);
    spline_weights(fraction, weights[a]);
  }
  const std::int64_t column = 4 * static_cast<std::int64_t>(step.points[2]), plane = column * step.points[1];
  const float* corner = controls + step.control + first[0] * plane + first[1] * column + 4 * first[2];
  float line[16] = {};  // four control points along Z, weighed along X and Y
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b) {
      const float weight = weights[0][a] * weights[1][b];
      const float* at = corner + a * plane + b * column;
      for (int i = 0; i < 16; ++i) line[i] += weight * at[i];
    }
  for (int d = 0; d < 3; ++d) by[d] = weights[2][0] * line[d] + weights[2][1] * line[4 + d] + (weights[2][2] * line[8 + d] + weights[2][3] * line[12 + d]);
}

// The displacement `by` with source + by(source) = place, by fixed-point iteration from the `by` given. Whether it is found.
SSLMED_FORMULA bool undo_elastic(const WarpStep& step, const float* controls, const double* place, float tolerance, float (&by)[3]) {
  for (int i = 0; i < kMostInverseSteps; ++i) {
    const double source[3] = {place[0] - by[0], place[1] - by[1], place[2] - by[2]};
    float next[3];
    elastic_at(step, controls, source, next);
    bool close = true;
    for (int d = 0; d < 3; ++d) {
      close = close && std::fabs(next[d] - by[d]) <= tolerance + 5e-7F * std::fabs(next[d]);  // what rounding leaves
      by[d] = next[d];
    }
    if (close) return true;
  }
  return false;
}

// A place of the result becomes the place of the source. Whether every displacement could be undone.
SSLMED_FORMULA bool warp_place(const WarpStep* steps, std::int64_t n, const float* controls, float tolerance, double (&place)[3]) {
  bool good = true;
  for (std::int64_t i = 0; i < n; ++i) {
    const WarpStep& step = steps[i];
    if (step.kind == WarpStep::kAffine) {
      const double x = place[0], y = place[1], z = place[2];
      for (int a = 0; a < 3; ++a) {
        const double* row = step.matrix + 3 * a;
        place[a] = row[0] * x + row[1] * y + row[2] * z + step.offset[a];
      }
      continue;
    }
    float by[3] = {0, 0, 0};
    if (step.kind == WarpStep::kElastic) {
      elastic_at(step, controls, place, by);
      for (int a = 0; a < 3; ++a) place[a] += by[a];
    } else {
      good = undo_elastic(step, controls, place, tolerance, by) && good;
      for (int a = 0; a < 3; ++a) place[a] -= by[a];
    }
  }
  return good;
}

// The lower of the two cells that a place lies between along one axis of n cells, and the upper one's weight. Places
// within half a cell of the edge have the edge's value.
SSLMED_FORMULA std::int32_t lower_cell(double place, std::int32_t n, float& weight) {
  const double last = n - 1, middle = place - 0.5, within = middle < 0 ? 0 : middle > last ? last : middle;
  const auto floor = static_cast<std::int32_t>(within);
  const std::int32_t cell = floor < n - 2 ? floor : n > 1 ? n - 2 : 0;
  weight = static_cast<float>(within - cell);
  return cell;
}

SSLMED_FORMULA float between(float a, float b, float weight) { return a + weight * (b - a); }

// Of the eight cells around a place: how far the upper neighbor lies along X and Y, and Z where that has several cells.
struct CellSteps {
  std::int64_t x, y, z;
};

SSLMED_FORMULA float linear_value(const float* cell, const CellSteps& up, float x, float y, float z) {
  const float *c0 = cell, *c1 = cell + up.y, *c2 = cell + up.x, *c3 = cell + up.x + up.y;
  const float near = between(between(c0[0], c2[0], x), between(c1[0], c3[0], x), y);
  const float far = between(between(c0[up.z], c2[up.z], x), between(c1[up.z], c3[up.z], x), y);
  return between(near, far, z);
}

// The label whose cells weigh most among the eight, the smaller one of equals. Weights are whole numbers, so that their
// sums do not depend on an order.
template <class T>
SSLMED_FORMULA T label_value(const T* cell, const CellSteps& up, float x, float y, float z) {
  const T labels[8] = {cell[0], cell[up.z], cell[up.y], cell[up.y + up.z], cell[up.x], cell[up.x + up.z], cell[up.x + up.y], cell[up.x + up.y + up.z]};
  bool same = true;
  for (int i = 1; i < 8; ++i) same = same && labels[i] == labels[0];
  if (same) return labels[0];
  constexpr std::int64_t kOne = 1 << 20;
  const float fractions[3] = {x, y, z};
  std::int64_t upper[3];
  for (int a = 0; a < 3; ++a) upper[a] = static_cast<std::int64_t>(fractions[a] * static_cast<float>(kOne) + 0.5F);
  std::int64_t weights[8];
  for (int i = 0; i < 8; ++i) {
    weights[i] = 1;
    for (int a = 0; a < 3; ++a) weights[i] *= (i >> (2 - a)) & 1 ? upper[a] : kOne - upper[a];
  }
  T best = labels[0];
  std::int64_t most = -1;
  for (int i = 0; i < 8; ++i) {
    std::int64_t sum = 0;
    for (int j = 0; j < 8; ++j) sum += labels[j] == labels[i] ? weights[j] : 0;
    if (sum > most || (sum == most && labels[i] < best)) {
      most = sum;
      best = labels[i];
    }
  }
  return best;
}

}  // namespace sslmed::transforms
