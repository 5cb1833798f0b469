#include "metrics/nearest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/parallel.h"
#include "metrics/near_rows.h"

namespace sslmed::metrics {

struct SurfaceTree::Search {
  std::array<double, 3> place;
  std::array<double, 3> beyond{};  // distance to the part of the tree being visited, along each axis
  double best;                     // squared
  std::int64_t site;
};

SurfaceTree::SurfaceTree(const Surface& surface, const Spacing& spacing) : spacing_(spacing) {
  const auto n = static_cast<std::int64_t>(surface.size());
  order_.resize(surface.size());
  std::iota(order_.begin(), order_.end(), 0);
  const std::array<const std::vector<std::int32_t>*, 3> given = {&surface.x, &surface.y, &surface.z};
  for (std::size_t a = 0; a < 3; ++a) {
    places_[a].resize(surface.size());
    for (std::size_t i = 0; i < surface.size(); ++i) places_[a][i] = (*given[a])[i] * spacing[a];
  }
  std::size_t nodes = 2;
  for (auto left = n; left > kLeaf; left = (left + 1) / 2) nodes *= 2;
  split_.resize(nodes);
  axis_.resize(nodes);
  if (n > 0) divide_places(1, 0, n);
  for (std::size_t a = 0; a < 3; ++a) {
    cells_[a].resize(surface.size());
    for (std::size_t i = 0; i < surface.size(); ++i) cells_[a][i] = (*given[a])[static_cast<std::size_t>(order_[i])];
    for (std::size_t i = 0; i < surface.size(); ++i) places_[a][i] = cells_[a][i] * spacing[a];
  }
}

void SurfaceTree::divide_places(std::size_t node, std::int64_t first, std::int64_t last) {
  if (last - first <= kLeaf) return;
  std::size_t widest = 0;
  double extent = -1;
  for (std::size_t a = 0; a < 3; ++a) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (auto i = first; i < last; ++i) {
      const double place = places_[a][static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])];
      low = std::min(low, place);
      high = std::max(high, place);
    }
    if (high - low > extent) {
      extent = high - low;
      widest = a;
    }
  }
  const auto middle = (first + last) / 2;
  const auto& along = places_[widest];
  std::nth_element(order_.begin() + first, order_.begin() + middle, order_.begin() + last,
                   [&](std::int32_t i, std::int32_t j) { return along[static_cast<std::size_t>(i)] < along[static_cast<std::size_t>(j)]; });
  axis_[node] = static_cast<std::uint8_t>(widest);
  split_[node] = along[static_cast<std::size_t>(order_[static_cast<std::size_t>(middle)])];
  divide_places(2 * node, first, middle);
  divide_places(2 * node + 1, middle, last);
}

// Arya and Mount (1993): the distance to a part of the tree is kept axis by axis.
void SurfaceTree::visit(Search& search, std::size_t node, std::int64_t first, std::int64_t last, double lower) const {
  if (last - first <= kLeaf) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const double x = places_[0][i] - search.place[0], y = places_[1][i] - search.place[1], z = places_[2][i] - search.place[2];
      const double squared = x * x + y * y + z * z;
      if (squared < search.best) {
        search.best = squared;
        search.site = static_cast<std::int64_t>(i);
      }
    }
    return;
  }
  const std::size_t axis = axis_[node];
  const double side = search.place[axis] - split_[node];
  const auto middle = (first + last) / 2;
  const bool low = side < 0;
  visit(search, 2 * node + !low, low ? first : middle, low ? middle : last, lower);
  const double before = search.beyond[axis];
  const double farther = lower - before * before + side * side;
  if (farther >= search.best) return;
  search.beyond[axis] = side;
  visit(search, 2 * node + low, low ? middle : first, low ? last : middle, farther);
  search.beyond[axis] = before;
}

// From whole cells, as SciPy's distance transform takes it: equal steps are then equally far everywhere.
double SurfaceTree::squared(std::int64_t here, const SurfaceTree& from, std::int64_t there) const {
  double sum = 0;
  for (std::size_t a = 0; a < 3; ++a) {
    const double step = cells_[a][static_cast<std::size_t>(here)] - from.cells_[a][static_cast<std::size_t>(there)];
    sum += (step * spacing_[a]) * (step * spacing_[a]);
  }
  return sum;
}

void SurfaceTree::distances(const SurfaceTree& from, double* out, unsigned threads) const {
  const auto n = static_cast<std::int64_t>(order_.size()), queries = static_cast<std::int64_t>(from.order_.size());
  if (n == 0) {
    std::fill_n(out, queries, std::numeric_limits<double>::infinity());
    return;
  }
  divide(queries, 4096, threads, [&](std::int64_t begin, std::int64_t end) {
    Search search{};
    search.site = 0;
    for (auto i = begin; i < end; ++i) {
      for (std::size_t a = 0; a < 3; ++a) {
        search.place[a] = from.places_[a][static_cast<std::size_t>(i)];
        search.beyond[a] = 0;
      }
      search.best = squared(search.site, from, i);
      if (search.best > 0) visit(search, 1, 0, n, 0);
      out[from.order_[static_cast<std::size_t>(i)]] = std::sqrt(squared(search.site, from, i));
    }
  });
}

namespace {

Surface places_at(const Surface& surface, const std::vector<std::int64_t>& chosen) {
  Surface part;
  for (const auto i : chosen) {
    part.x.push_back(surface.x[static_cast<std::size_t>(i)]);
    part.y.push_back(surface.y[static_cast<std::size_t>(i)]);
    part.z.push_back(surface.z[static_cast<std::size_t>(i)]);
  }
  return part;
}

double distance_to_all(const Surface& from, std::size_t i, const Surface& to, const Spacing& spacing) {
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < to.size(); ++j) {
    const double x = (to.x[j] - from.x[i]) * spacing[0], y = (to.y[j] - from.y[i]) * spacing[1], z = (to.z[j] - from.z[i]) * spacing[2];
    best = std::min(best, x * x + y * y + z * z);
  }
  return std::sqrt(best);
}

// Trees take longer to build than so many places to compare with all others.
constexpr std::size_t kFew = 200;

}  // namespace

void nearest_distances(const Surface& from, const Surface& to, const Spacing& spacing, double* out, unsigned threads) {
  const auto n = static_cast<std::int64_t>(from.size());
  if (to.size() == 0) {
    std::fill_n(out, n, std::numeric_limits<double>::infinity());
    return;
  }
  const NearRows rows(to, spacing);
  divide(n, 4096, threads, [&](std::int64_t first, std::int64_t last) {
    for (auto i = first; i < last; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double squared = rows.squared(from.x[at], from.y[at], from.z[at]);
      out[i] = squared < 0 ? -1 : std::sqrt(squared);
    }
  });
  std::vector<std::int64_t> far;
  for (std::int64_t i = 0; i < n; ++i)
    if (out[i] < 0) far.push_back(i);
  if (far.size() <= kFew) {
    for (const auto i : far) out[i] = distance_to_all(from, static_cast<std::size_t>(i), to, spacing);
    return;
  }
  std::vector<double> found(far.size());
  SurfaceTree(to, spacing).distances(SurfaceTree(places_at(from, far), spacing), found.data(), threads);
  for (std::size_t i = 0; i < far.size(); ++i) out[far[i]] = found[i];
}

}  // namespace sslmed::metrics
