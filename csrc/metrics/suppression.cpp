#include "metrics/suppression.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <unordered_map>

namespace sslmed::metrics {
namespace {

constexpr std::int64_t kMostCells = 4096;  // objects that reach over more cells are compared with all others

// Kept objects by the cells of a grid that their bounds touch.
class NearGrid {
 public:
  NearGrid(const std::vector<double>& bounds, std::size_t rank) : bounds_(bounds), rank_(rank), size_(rank, 0.0) {
    const auto n = bounds.size() / (2 * rank);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t axis = 0; axis < rank; ++axis) size_[axis] += extent(i, axis) / static_cast<double>(n);
    for (auto& size : size_) size = std::max(size, 1e-9);
  }

  void add(std::int64_t i) {
    all_.push_back(i);
    if (!touched(i)) return large_.push_back(i);
    for (const auto key : keys_) cells_[key].push_back(i);
  }

  // Whether f(j) is true of any kept object whose bounds may meet those of i. An object may be asked about twice.
  template <class F>
  bool any(std::int64_t i, F&& f) {
    if (!touched(i)) return std::any_of(all_.begin(), all_.end(), f);
    if (std::any_of(large_.begin(), large_.end(), f)) return true;
    return std::any_of(keys_.begin(), keys_.end(), [&](std::uint64_t key) {
      const auto found = cells_.find(key);
      return found != cells_.end() && std::any_of(found->second.begin(), found->second.end(), f);
    });
  }

  bool meet(std::int64_t i, std::int64_t j) const {
    for (std::size_t axis = 0; axis < rank_; ++axis)
      if (low(i, axis) >= high(j, axis) || low(j, axis) >= high(i, axis)) return false;
    return true;
  }

 private:
  double low(std::int64_t i, std::size_t axis) const { return bounds_[2 * rank_ * static_cast<std::size_t>(i) + axis]; }
  double high(std::int64_t i, std::size_t axis) const { return bounds_[2 * rank_ * static_cast<std::size_t>(i) + rank_ + axis]; }
  double extent(std::size_t i, std::size_t axis) const { return high(static_cast<std::int64_t>(i), axis) - low(static_cast<std::int64_t>(i), axis); }

  // Fills keys_ with the cells that an object touches; false where they are too many.
  bool touched(std::int64_t i) {
    keys_.assign(1, 0x9e3779b97f4a7c15ULL);
    std::int64_t count = 1;
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      const auto first = std::floor(low(i, axis) / size_[axis]), last = std::floor(high(i, axis) / size_[axis]);
      if (!(last - first < static_cast<double>(kMostCells))) return false;
      const auto cells = static_cast<std::int64_t>(last - first) + 1;
      count *= cells;
      if (count > kMostCells) return false;
      const auto known = keys_;
      keys_.clear();
      for (const auto key : known)
        for (std::int64_t cell = 0; cell < cells; ++cell) {
          // A clash of two cells only asks about more objects.
          auto mixed = (key ^ static_cast<std::uint64_t>(static_cast<std::int64_t>(first) + cell)) * 0xbf58476d1ce4e5b9ULL;
          keys_.push_back(mixed ^ (mixed >> 31));
        }
    }
    return true;
  }

  const std::vector<double>& bounds_;
  std::size_t rank_;
  std::vector<double> size_;
  std::vector<std::uint64_t> keys_;
  std::vector<std::int64_t> all_, large_;
  std::unordered_map<std::uint64_t, std::vector<std::int64_t>> cells_;
};

}  // namespace

std::vector<std::int64_t> suppress(const Candidates& candidates, const std::vector<double>& bounds, std::size_t rank,
                                   const std::function<bool(std::int64_t, std::int64_t)>& overlaps) {
  const auto& scores = candidates.scores;
  const auto& classes = candidates.classes;
  std::vector<std::int64_t> order(scores.size()), kept;
  if (scores.empty()) return kept;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)]; });
  NearGrid near(bounds, rank);
  for (const auto i : order) {
    const bool dropped = near.any(i, [&](std::int64_t j) {
      if (!classes.empty() && classes[static_cast<std::size_t>(i)] != classes[static_cast<std::size_t>(j)]) return false;
      return near.meet(i, j) && overlaps(i, j);
    });
    if (dropped) continue;
    kept.push_back(i);
    near.add(i);
  }
  return kept;
}

std::vector<std::int64_t> suppress_boxes(const Candidates& candidates, const std::vector<double>& edges, std::size_t rank, double iou) {
  const auto volume = [&](const double* box) {
    double out = 1;
    for (std::size_t axis = 0; axis < rank; ++axis) out *= box[rank + axis] - box[axis];
    return out;
  };
  return suppress(candidates, edges, rank, [&](std::int64_t i, std::int64_t j) {
    const auto* a = edges.data() + 2 * rank * static_cast<std::size_t>(i);
    const auto* b = edges.data() + 2 * rank * static_cast<std::size_t>(j);
    double shared = 1;
    for (std::size_t axis = 0; axis < rank; ++axis) shared *= std::max(0.0, std::min(a[rank + axis], b[rank + axis]) - std::max(a[axis], b[axis]));
    return shared / (volume(a) + volume(b) - shared) > iou;
  });
}

std::vector<std::int64_t> suppress_points(const Candidates& candidates, const std::vector<double>& places, std::size_t rank, double distance) {
  std::vector<double> bounds(2 * places.size());
  for (std::size_t i = 0; i < candidates.scores.size(); ++i)
    for (std::size_t axis = 0; axis < rank; ++axis) {
      bounds[2 * rank * i + axis] = places[rank * i + axis] - distance / 2;
      bounds[2 * rank * i + rank + axis] = places[rank * i + axis] + distance / 2;
    }
  return suppress(candidates, bounds, rank, [&](std::int64_t i, std::int64_t j) {
    double sum = 0;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const auto d = places[rank * static_cast<std::size_t>(i) + axis] - places[rank * static_cast<std::size_t>(j) + axis];
      sum += d * d;
    }
    return std::sqrt(sum) < distance;
  });
}

}  // namespace sslmed::metrics
