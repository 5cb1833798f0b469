#include "transforms/volume_map.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "core/error.h"
#include "transforms/volume_resample.h"

namespace sslmed::transforms {
namespace {

std::vector<std::int64_t> axes_of(const VolumeShape& shape) { return {shape.begin(), shape.end()}; }

std::string axis_name(const char* what, std::size_t axis) { return std::string(what) + "[" + std::to_string(axis) + "]"; }

void check_volume(const VolumeShape& shape, const VolumeSpacing& spacing) {
  for (std::size_t a = 0; a < 3; ++a) {
    require(shape[a] >= 1 && shape[a] < (1 << 24), axis_name("volume: shape", a).c_str(), shape[a], "must be 1 to 2^24 - 1 cells");
    const double mm = spacing[a];
    require(mm > 0 && std::isfinite(mm), axis_name("volume: spacing", a).c_str(), mm, "mm must be positive and finite");
  }
  // Places of cells are numbers of 32 bits.
  require(shape[0] * shape[1] < (std::int64_t{1} << 40) && shape[0] * shape[1] * shape[2] <= INT32_MAX, "volume: cells",
          static_cast<double>(shape[0]) * static_cast<double>(shape[1]) * static_cast<double>(shape[2]), "must be below 2^31");
}

using Matrix = std::array<double, 9>;

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix out{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) out[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return out;
}

// By an angle about one axis.
Matrix turn_about(std::size_t axis, double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  const std::size_t a = (axis + 1) % 3, b = (axis + 2) % 3;
  Matrix out{};
  out[4 * axis] = 1;
  out[4 * a] = out[4 * b] = std::cos(angle);
  out[3 * b + a] = std::sin(angle);
  out[3 * a + b] = -std::sin(angle);
  return out;
}

// Puts an affine step before the others.
void put(VolumeMap& map, const std::vector<double>& matrix, const std::vector<double>& offset, const VolumeShape& shape) {
  if (map.steps.empty() || map.steps.front().kind != WarpStep::kAffine) {
    VolumeStep step;
    step.geometry = Geometry::identity(axes_of(map.to));
    map.steps.insert(map.steps.begin(), std::move(step));
  }
  map.steps.front().geometry.affine(matrix, offset, axes_of(shape));
  map.to = shape;
}

std::vector<double> diagonal(double x, double y, double z) { return {x, 0, 0, 0, y, 0, 0, 0, z}; }

VolumeStep inverse_of(const VolumeStep& step) {
  auto out = step;
  if (step.kind == WarpStep::kAffine) {
    out.geometry = step.geometry.inverse();
  } else {
    out.kind = step.kind == WarpStep::kElastic ? WarpStep::kElasticInverse : WarpStep::kElastic;
  }
  return out;
}

WarpStep flat_step(const VolumeStep& step) {
  WarpStep out{};
  out.kind = step.kind;
  for (std::size_t a = 0; a < 3; ++a) {
    if (step.kind == WarpStep::kAffine) {
      out.offset[a] = step.geometry.offset[a];
    } else {
      out.points[a] = static_cast<std::int32_t>(step.points[a]);
      out.scale[a] = static_cast<double>(step.points[a] - 3) / (static_cast<double>(step.shape[a]) + 2 * kMeshMargin);
    }
  }
  if (step.kind == WarpStep::kAffine) std::copy_n(step.geometry.matrix.begin(), 9, out.matrix);
  return out;
}

}  // namespace

void throw_folded() {
  throw ValueError(
      "volume: the elastic displacement folds space, so it has no inverse; use a smaller max_displacement or fewer "
      "control_points");
}

VolumeMap VolumeMap::identity(const VolumeShape& shape, const VolumeSpacing& spacing) {
  check_volume(shape, spacing);
  return {shape, shape, spacing, spacing, {}};
}

VolumeMap& VolumeMap::affine(const std::array<double, 3>& scales, const std::array<double, 3>& degrees, const std::array<double, 3>& translation) {
  for (std::size_t a = 0; a < 3; ++a) {
    require(scales[a] > 0 && std::isfinite(scales[a]), axis_name("affine: scales", a).c_str(), scales[a], "must be positive and finite");
    require(std::isfinite(degrees[a]), axis_name("affine: degrees", a).c_str(), degrees[a], "must be finite");
    require(std::isfinite(translation[a]), axis_name("affine: translation", a).c_str(), translation[a], "mm must be finite");
  }
  const auto turn = product(turn_about(2, degrees[2]), product(turn_about(0, degrees[0]), turn_about(1, degrees[1])));
  // result = scales · (turn · (source - center) + translation) + center in mm; the step is its inverse, in cells.
  std::vector<double> matrix(9), offset(3);
  for (std::size_t i = 0; i < 3; ++i) {
    offset[i] = static_cast<double>(to[i]) / 2;
    for (std::size_t j = 0; j < 3; ++j) {
      const double back = turn[3 * j + i] / to_spacing[i];
      matrix[3 * i + j] = back * to_spacing[j] / scales[j];
      offset[i] -= matrix[3 * i + j] * static_cast<double>(to[j]) / 2 + back * translation[j];
    }
  }
  put(*this, matrix, offset, to);
  return *this;
}

VolumeMap& VolumeMap::elastic(const ElasticField& field) {
  std::size_t count = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    require(field.points[a] >= 4 && field.points[a] <= 1024, axis_name("elastic: control_points", a).c_str(), field.points[a], "must be 4 to 1024");
    count *= static_cast<std::size_t>(field.points[a]);
  }
  require(field.displacement.size() == 3 * count, "elastic: displacement", field.displacement.size(),
          "numbers, expected " + std::to_string(3 * count) + ", three for each control point");
  std::vector<float> cells(4 * count, 0.0F);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t a = 0; a < 3; ++a) {
      const float mm = field.displacement[3 * i + a];
      require(std::isfinite(mm), "elastic: displacement", mm, "mm must be finite");
      cells[4 * i + a] = static_cast<float>(static_cast<double>(mm) / to_spacing[a]);
    }
  VolumeStep step;
  step.kind = WarpStep::kElastic;
  step.field = std::make_shared<const std::vector<float>>(std::move(cells));
  step.points = field.points;
  step.shape = to;
  steps.insert(steps.begin(), std::move(step));
  return *this;
}

VolumeMap& VolumeMap::flip(std::size_t axis) {
  require(axis < 3, "flip: axis", axis, "must be 0, 1 or 2");
  std::vector<double> matrix = diagonal(1, 1, 1), offset(3, 0.0);
  matrix[4 * axis] = -1;
  offset[axis] = static_cast<double>(to[axis]);
  put(*this, matrix, offset, to);
  return *this;
}

VolumeMap& VolumeMap::window(const std::array<std::int64_t, 3>& first, const VolumeShape& shape) {
  check_volume(shape, to_spacing);
  std::vector<double> offset(3);
  for (std::size_t a = 0; a < 3; ++a) {
    require(std::abs(first[a]) < (1 << 24), axis_name("window: first", a).c_str(), first[a], "must be within 2^24 cells");
    offset[a] = static_cast<double>(first[a]);
  }
  put(*this, diagonal(1, 1, 1), offset, shape);
  return *this;
}

VolumeMap& VolumeMap::crop_or_pad(const VolumeShape& shape) {
  std::array<std::int64_t, 3> first{};
  for (std::size_t a = 0; a < 3; ++a) first[a] = shape[a] <= to[a] ? (to[a] - shape[a] + 1) / 2 : -((shape[a] - to[a] + 1) / 2);
  return window(first, shape);
}

VolumeMap& VolumeMap::resample(const VolumeSpacing& spacing) {
  const auto grid = resample_grid(to, to_spacing, spacing);
  std::vector<double> offset(3);
  for (std::size_t a = 0; a < 3; ++a) offset[a] = grid.offset[a] / to_spacing[a];
  put(*this, diagonal(spacing[0] / to_spacing[0], spacing[1] / to_spacing[1], spacing[2] / to_spacing[2]), offset, grid.to);
  to_spacing = spacing;
  return *this;
}

VolumeMap& VolumeMap::then(const VolumeMap& next) {
  for (std::size_t a = 0; a < 3; ++a) {
    require(next.from[a] == to[a], axis_name("volume: the second transform's shape", a).c_str(), next.from[a],
            "must be the " + std::to_string(to[a]) + " cells that the first one gives");
    require(std::abs(next.from_spacing[a] - to_spacing[a]) <= 1e-6 * to_spacing[a], axis_name("volume: the second transform's spacing", a).c_str(),
            next.from_spacing[a], "mm must be the " + std::to_string(to_spacing[a]) + " mm that the first one gives");
  }
  for (auto step = next.steps.rbegin(); step != next.steps.rend(); ++step) {
    if (step->kind == WarpStep::kAffine) {
      const auto& shape = step->geometry.to;
      put(*this, step->geometry.matrix, step->geometry.offset, {shape[0], shape[1], shape[2]});
    } else {
      steps.insert(steps.begin(), *step);
    }
  }
  to = next.to;
  to_spacing = next.to_spacing;
  return *this;
}

VolumeMap VolumeMap::inverse() const {
  VolumeMap out{to, from, to_spacing, from_spacing, {}};
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) out.steps.push_back(inverse_of(*step));
  return out;
}

WarpSteps VolumeMap::flat() const {
  WarpSteps out;
  for (const auto& step : steps) {
    out.steps.push_back(flat_step(step));
    if (step.kind == WarpStep::kAffine) continue;
    out.steps.back().control = static_cast<std::int64_t>(out.controls.size());
    out.controls.insert(out.controls.end(), step.field->begin(), step.field->end());
  }
  return out;
}

void VolumeMap::move_points(double* points, std::int64_t n, bool back) const {
  constexpr float kFine = 1e-5F;  // cells
  const auto flat = back ? this->flat() : inverse().flat();
  for (std::int64_t i = 0; i < n; ++i) {
    double place[3] = {points[3 * i], points[3 * i + 1], points[3 * i + 2]};
    for (const double at : place) require(std::abs(at) < 1e9, "points: coordinate", at, "must be finite and within 1e9 cells");
    if (!warp_place(flat.steps.data(), static_cast<std::int64_t>(flat.steps.size()), flat.controls.data(), kFine, place)) throw_folded();
    std::copy_n(place, 3, points + 3 * i);
  }
}

}  // namespace sslmed::transforms
