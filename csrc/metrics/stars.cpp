#include "metrics/stars.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <unordered_map>

#include "metrics/distance_transform.h"
#include "metrics/grid.h"

namespace sslmed::metrics {
namespace {

struct StarPoint {
  double x = 0, y = 0;  // column, row
};
using StarTriangle = std::array<StarPoint, 3>;

double star_cross(const StarPoint& a, const StarPoint& b, const StarPoint& c) { return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x); }

// Cells of an object, and its middle row and column: [first, last).
struct LabelExtent {
  std::int64_t top, left, bottom, right;
};

// The area that two triangles share; both turn left. A triangle cut by three lines has at most six
// corners; where rounding makes a sliver cross a line more often, each cut doubles them at most.
double triangle_overlap(const StarTriangle& a, const StarTriangle& b) {
  std::array<StarPoint, 24> shape{a[0], a[1], a[2]}, cut{};
  std::size_t n = 3;
  for (std::size_t edge = 0; edge < 3 && n > 0; ++edge) {
    const auto &from = b[edge], &to = b[(edge + 1) % 3];
    std::size_t kept = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const auto &p = shape[i], &q = shape[(i + 1) % n];
      const auto here = star_cross(from, to, p), there = star_cross(from, to, q);
      if (here >= 0) cut[kept++] = p;
      if ((here > 0 && there < 0) || (here < 0 && there > 0)) {
        const auto share = here / (here - there);
        cut[kept++] = {p.x + share * (q.x - p.x), p.y + share * (q.y - p.y)};
      }
    }
    std::copy_n(cut.begin(), kept, shape.begin());
    n = kept;
  }
  double twice = 0;
  for (std::size_t i = 2; i < n; ++i) twice += star_cross(shape[0], shape[i - 1], shape[i]);
  return std::max(0.0, twice / 2);
}

struct StarWindow {
  double left, top, right, bottom;
};

StarWindow window_of(const StarPoint* places, std::size_t n) {
  StarWindow out{places[0].x, places[0].y, places[0].x, places[0].y};
  for (std::size_t i = 1; i < n; ++i) {
    out.left = std::min(out.left, places[i].x);
    out.right = std::max(out.right, places[i].x);
    out.top = std::min(out.top, places[i].y);
    out.bottom = std::max(out.bottom, places[i].y);
  }
  return out;
}

bool windows_meet(const StarWindow& a, const StarWindow& b) { return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom; }

// The triangles of a shape, each with the window around it.
struct StarFan {
  std::vector<StarTriangle> triangles;
  std::vector<StarWindow> windows;
};

StarFan fan_of(const Stars& stars, std::size_t i) {
  const auto corners = stars.corners(i);
  const StarPoint center{stars.centers[2 * i + 1], stars.centers[2 * i]};
  StarFan out;
  for (std::size_t k = 0; k < stars.rays; ++k) {
    const auto next = (k + 1) % stars.rays;
    out.triangles.push_back({center, {corners[2 * k + 1], corners[2 * k]}, {corners[2 * next + 1], corners[2 * next]}});
    out.windows.push_back(window_of(out.triangles.back().data(), 3));
  }
  return out;
}

// The area that two shapes share, or the first sum above `enough`.
double fans_share(const StarFan& one, const StarFan& two, double enough) {
  double sum = 0;
  for (std::size_t a = 0; a < one.triangles.size(); ++a)
    for (std::size_t b = 0; b < two.triangles.size(); ++b) {
      if (!windows_meet(one.windows[a], two.windows[b])) continue;
      sum += triangle_overlap(one.triangles[a], two.triangles[b]);
      if (sum > enough) return sum;
    }
  return sum;
}

}  // namespace

void star_distances(const std::int32_t* labels, std::int64_t rows, std::int64_t columns, std::int64_t stride, std::int64_t rays, float* out) {
  std::vector<float> down(static_cast<std::size_t>(rays)), right(down.size()), back(down.size());
  const auto step = static_cast<float>(2 * std::numbers::pi / static_cast<double>(rays));
  for (std::size_t k = 0; k < down.size(); ++k) {
    const auto angle = static_cast<float>(k) * step;
    down[k] = std::sin(angle);
    right[k] = std::cos(angle);
    back[k] = 1 - 0.5F / std::max(std::abs(down[k]), std::abs(right[k]));
  }
  // Halves go to the even cell, as in StarDist.
  const auto rounded = [](float x) { return static_cast<std::int64_t>(std::lrint(x)); };
  for (std::int64_t i = stride / 2; i / stride < rows / stride; i += stride)
    for (std::int64_t j = stride / 2; j / stride < columns / stride; j += stride) {
      const auto label = labels[i * columns + j];
      for (std::size_t k = 0; k < down.size(); ++k, ++out) {
        *out = 0;
        if (label <= 0) continue;
        float y = 0, x = 0;
        while (true) {
          y += down[k];
          x += right[k];
          const auto row = rounded(static_cast<float>(i) + y), column = rounded(static_cast<float>(j) + x);
          if (row < 0 || row >= rows || column < 0 || column >= columns || labels[row * columns + column] != label) break;
        }
        y -= back[k] * down[k];
        x -= back[k] * right[k];
        *out = std::sqrt(x * x + y * y);
      }
    }
}

void object_probability(const std::int32_t* labels, std::int64_t rows, std::int64_t columns, float* out) {
  std::fill_n(out, rows * columns, 0.0F);
  std::unordered_map<std::int32_t, LabelExtent> extents;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) {
      const auto label = labels[i * columns + j];
      if (label <= 0) continue;
      auto& extent = extents.try_emplace(label, LabelExtent{i, j, i + 1, j + 1}).first->second;
      extent = {std::min(extent.top, i), std::min(extent.left, j), std::max(extent.bottom, i + 1), std::max(extent.right, j + 1)};
    }
  std::vector<std::uint8_t> mask;
  std::vector<double> distances;
  for (const auto& [label, found] : extents) {
    const bool fills = found.top == 0 && found.left == 0 && found.bottom == rows && found.right == columns &&
                       std::all_of(labels, labels + rows * columns, [own = label](std::int32_t other) { return other == own; });
    const std::int64_t margin = fills ? 1 : 0;
    const auto top = std::max(found.top - 1, -margin), left = std::max(found.left - 1, -margin);
    const auto height = std::min(found.bottom + 1, rows + margin) - top, width = std::min(found.right + 1, columns + margin) - left;
    mask.assign(static_cast<std::size_t>(height * width), 0);
    for (auto i = found.top; i < found.bottom; ++i)
      for (auto j = found.left; j < found.right; ++j) mask[static_cast<std::size_t>((i - top) * width + j - left)] = labels[i * columns + j] == label;
    distances.resize(mask.size());
    LabelMap map;
    map.narrow = mask.data();
    map.shape = {1, height, width};
    map.rank = 2;
    distance_transform(map, {1, 1, 1}, distances.data(), 1);
    const auto largest = *std::max_element(distances.begin(), distances.end());
    for (auto i = found.top; i < found.bottom; ++i)
      for (auto j = found.left; j < found.right; ++j)
        if (labels[i * columns + j] == label)
          out[i * columns + j] = static_cast<float>(distances[static_cast<std::size_t>((i - top) * width + j - left)] / largest);
  }
}

double Stars::area(std::size_t i) const {
  double sum = 0;
  for (std::size_t k = 0; k < rays; ++k) sum += distances[i * rays + k] * distances[i * rays + (k + 1) % rays];
  return sum * std::sin(2 * std::numbers::pi / static_cast<double>(rays)) / 2;
}

std::vector<double> Stars::corners(std::size_t i) const {
  std::vector<double> out(2 * rays);
  for (std::size_t k = 0; k < rays; ++k) {
    const auto angle = 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(rays);
    out[2 * k] = centers[2 * i] + distances[i * rays + k] * std::sin(angle);
    out[2 * k + 1] = centers[2 * i + 1] + distances[i * rays + k] * std::cos(angle);
  }
  return out;
}

double shared_area(const Stars& stars, std::size_t i, std::size_t j, double enough) { return fans_share(fan_of(stars, i), fan_of(stars, j), enough); }

std::vector<std::int64_t> suppress_stars(const Candidates& candidates, const Stars& stars, double threshold, StarOverlap overlap) {
  const auto n = stars.size();
  std::vector<double> areas(n), bounds(4 * n);
  for (std::size_t i = 0; i < n; ++i) {
    areas[i] = stars.area(i);
    const auto corners = stars.corners(i);
    for (std::size_t axis = 0; axis < 2; ++axis) {
      double low = corners[axis], high = corners[axis];
      for (std::size_t k = 1; k < stars.rays; ++k) {
        low = std::min(low, corners[2 * k + axis]);
        high = std::max(high, corners[2 * k + axis]);
      }
      bounds[4 * i + axis] = low;
      bounds[4 * i + 2 + axis] = high;
    }
  }
  // The triangles of the shape that is asked about, and of those that were taken.
  std::unordered_map<std::size_t, StarFan> taken;
  StarFan asked;
  auto asked_of = n;
  return suppress(candidates, bounds, 2, [&](std::int64_t first, std::int64_t second) {
    const auto i = static_cast<std::size_t>(first), j = static_cast<std::size_t>(second);
    // Shared area from which on the overlap is above the threshold.
    const auto enough = overlap == StarOverlap::kSmaller ? threshold * std::min(areas[i], areas[j]) : threshold * (areas[i] + areas[j]) / (1 + threshold);
    double common = 1;
    for (std::size_t axis = 0; axis < 2; ++axis)
      common *= std::min(bounds[4 * i + 2 + axis], bounds[4 * j + 2 + axis]) - std::max(bounds[4 * i + axis], bounds[4 * j + axis]);
    if (common <= enough) return false;
    if (asked_of != i) asked = fan_of(stars, i), asked_of = i;
    auto found = taken.find(j);
    if (found == taken.end()) found = taken.emplace(j, fan_of(stars, j)).first;
    return fans_share(asked, found->second, enough) > enough;
  });
}

void draw_stars(const Stars& stars, std::int64_t rows, std::int64_t columns, std::int32_t* out) {
  const auto turn = 2 * std::numbers::pi;
  for (std::size_t i = 0; i < stars.size(); ++i) {
    const auto row = stars.centers[2 * i], column = stars.centers[2 * i + 1];
    const auto corners = stars.corners(i);
    double reach = 0;
    for (std::size_t k = 0; k < stars.rays; ++k) reach = std::max(reach, stars.distances[i * stars.rays + k]);
    const auto first = [](double from, std::int64_t most) { return static_cast<std::int64_t>(std::clamp(std::floor(from), 0.0, static_cast<double>(most))); };
    for (auto y = first(row - reach, rows); y < first(row + reach + 1, rows); ++y)
      for (auto x = first(column - reach, columns); x < first(column + reach + 1, columns); ++x) {
        const StarPoint here{static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5};
        auto angle = std::atan2(here.y - row, here.x - column);
        if (angle < 0) angle += turn;
        const auto k = std::min(static_cast<std::size_t>(angle / turn * static_cast<double>(stars.rays)), stars.rays - 1), next = (k + 1) % stars.rays;
        if (star_cross({corners[2 * k + 1], corners[2 * k]}, {corners[2 * next + 1], corners[2 * next]}, here) >= 0)
          out[y * columns + x] = static_cast<std::int32_t>(i) + 1;
      }
  }
}

}  // namespace sslmed::metrics
