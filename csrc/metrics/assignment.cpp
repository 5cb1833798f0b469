#include "metrics/assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

namespace sslmed::metrics {
namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

// The column of each row for the least sum of `cost` [rows, columns], rows <= columns: shortest augmenting paths with
// potentials (Jonker and Volgenant 1987). Index 0 stands for nobody.
std::vector<std::size_t> least_cost(const std::vector<double>& cost, std::size_t rows, std::size_t columns) {
  std::vector<double> u(rows + 1), v(columns + 1), least(columns + 1);
  std::vector<std::size_t> taken(columns + 1), way(columns + 1);
  std::vector<char> used(columns + 1);
  for (std::size_t i = 1; i <= rows; ++i) {
    taken[0] = i;
    std::size_t at = 0;
    std::fill(least.begin(), least.end(), kFar);
    std::fill(used.begin(), used.end(), 0);
    do {
      used[at] = 1;
      const auto row = taken[at];
      double step = kFar;
      std::size_t next = 0;
      for (std::size_t j = 1; j <= columns; ++j) {
        if (used[j]) continue;
        const double reduced = cost[(row - 1) * columns + j - 1] - u[row] - v[j];
        if (reduced < least[j]) {
          least[j] = reduced;
          way[j] = at;
        }
        if (least[j] < step) {
          step = least[j];
          next = j;
        }
      }
      for (std::size_t j = 0; j <= columns; ++j) {
        if (used[j]) {
          u[taken[j]] += step;
          v[j] -= step;
        } else {
          least[j] -= step;
        }
      }
      at = next;
    } while (taken[at] != 0);
    for (; at != 0; at = way[at]) taken[at] = taken[way[at]];
  }
  std::vector<std::size_t> column(rows);
  for (std::size_t j = 1; j <= columns; ++j)
    if (taken[j] != 0) column[taken[j] - 1] = j - 1;
  return column;
}

// Rows and columns that edges connect, and the edges among them.
std::vector<std::vector<Edge>> blocks_of(const std::vector<Edge>& edges, std::int32_t rows, std::int32_t columns) {
  std::vector<std::int32_t> parent(static_cast<std::size_t>(rows) + static_cast<std::size_t>(columns));
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](std::int32_t i) {
    while (parent[static_cast<std::size_t>(i)] != i) {
      auto& up = parent[static_cast<std::size_t>(i)];
      up = parent[static_cast<std::size_t>(up)];
      i = up;
    }
    return i;
  };
  for (const auto& edge : edges) parent[static_cast<std::size_t>(root(edge.row))] = root(rows + edge.column);
  std::unordered_map<std::int32_t, std::size_t> number;
  std::vector<std::vector<Edge>> blocks;
  for (const auto& edge : edges) {
    const auto [found, fresh] = number.try_emplace(root(edge.row), blocks.size());
    if (fresh) blocks.emplace_back();
    blocks[found->second].push_back(edge);
  }
  return blocks;
}

// Numbers of a block's rows or columns within it.
std::vector<std::int32_t> names(const std::vector<Edge>& edges, std::int32_t Edge::*side) {
  std::vector<std::int32_t> out;
  for (const auto& edge : edges) out.push_back(edge.*side);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::size_t place(const std::vector<std::int32_t>& sorted, std::int32_t name) {
  return static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), name) - sorted.begin());
}

void solve(const std::vector<Edge>& edges, std::vector<std::int32_t>& column_of) {
  if (edges.size() == 1) {
    column_of[static_cast<std::size_t>(edges[0].row)] = edges[0].column;
    return;
  }
  const auto rows = names(edges, &Edge::row), columns = names(edges, &Edge::column);
  const bool turned = rows.size() > columns.size();
  const auto n = turned ? columns.size() : rows.size(), m = turned ? rows.size() : columns.size();
  std::vector<double> cost(n * m);
  for (const auto& edge : edges) {
    const auto i = place(rows, edge.row), j = place(columns, edge.column);
    cost[turned ? j * m + i : i * m + j] = -edge.weight;
  }
  const auto found = least_cost(cost, n, m);
  for (std::size_t i = 0; i < n; ++i) {
    if (cost[i * m + found[i]] >= 0) continue;  // no edge
    const auto row = rows[turned ? found[i] : i], column = columns[turned ? i : found[i]];
    column_of[static_cast<std::size_t>(row)] = column;
  }
}

std::array<std::int64_t, 3> bucket_of(const Point& point, double side) {
  std::array<std::int64_t, 3> bucket{};
  for (std::size_t a = 0; a < 3; ++a) bucket[a] = static_cast<std::int64_t>(std::floor(point[a] / side));
  return bucket;
}

std::uint64_t key_of(const std::array<std::int64_t, 3>& bucket) {
  std::uint64_t key = 0;
  for (const auto part : bucket) key = key * 0x9e3779b97f4a7c15ull + static_cast<std::uint64_t>(part);
  return key;
}

double distance(const Point& a, const Point& b) {
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

// f(neighbor's key) for a bucket and those around it, each key once.
template <class F>
void around(const std::array<std::int64_t, 3>& bucket, F&& f) {
  std::array<std::uint64_t, 27> keys{};
  std::size_t n = 0;
  for (std::int64_t x = -1; x <= 1; ++x)
    for (std::int64_t y = -1; y <= 1; ++y)
      for (std::int64_t z = -1; z <= 1; ++z) keys[n++] = key_of({bucket[0] + x, bucket[1] + y, bucket[2] + z});
  std::sort(keys.begin(), keys.end());
  const auto end = std::unique(keys.begin(), keys.end());
  for (auto key = keys.begin(); key != end; ++key) f(*key);
}

}  // namespace

std::vector<std::int32_t> best_pairs(const std::vector<Edge>& edges, std::int32_t rows, std::int32_t columns) {
  std::vector<std::int32_t> column_of(static_cast<std::size_t>(rows), -1);
  for (const auto& block : blocks_of(edges, rows, columns)) solve(block, column_of);
  return column_of;
}

std::vector<std::int32_t> near_pairs(const std::vector<Point>& rows, const std::vector<Point>& columns, double radius) {
  // Points in one place have buckets of their own size too.
  const double side = radius > 0 ? radius : 1;
  std::unordered_map<std::uint64_t, std::vector<std::int32_t>> buckets;
  for (std::size_t j = 0; j < columns.size(); ++j) buckets[key_of(bucket_of(columns[j], side))].push_back(static_cast<std::int32_t>(j));
  std::vector<Edge> edges;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    around(bucket_of(rows[i], side), [&](std::uint64_t key) {
      const auto found = buckets.find(key);
      if (found == buckets.end()) return;
      for (const auto j : found->second) {
        const double far = distance(rows[i], columns[static_cast<std::size_t>(j)]);
        if (far <= radius) edges.push_back({static_cast<std::int32_t>(i), j, far});
      }
    });
  }
  // One pair more always counts for more than all that the others could be nearer.
  const double bonus = side * (static_cast<double>(std::min(rows.size(), columns.size())) + 1);
  for (auto& edge : edges) edge.weight = bonus - edge.weight;
  return best_pairs(edges, static_cast<std::int32_t>(rows.size()), static_cast<std::int32_t>(columns.size()));
}

std::vector<std::int32_t> match_detections(const DetectionTask& task, const std::vector<double>& thresholds) {
  const auto detections = task.first.size() - 1;
  std::vector<std::int32_t> out;
  out.reserve(thresholds.size() * detections);
  std::vector<std::uint8_t> taken(task.ignored.size());
  for (const double threshold : thresholds) {
    std::fill(taken.begin(), taken.end(), 0);
    for (std::size_t d = 0; d < detections; ++d) {
      double best = std::min(threshold, 1 - 1e-10);
      std::int32_t match = -1;
      for (auto c = static_cast<std::size_t>(task.first[d]); c < static_cast<std::size_t>(task.first[d + 1]); ++c) {
        const auto object = static_cast<std::size_t>(task.object[c]);
        if (taken[object] && !task.crowd[object]) continue;
        // Objects that are ignored come last: one that is not is kept.
        if (match >= 0 && !task.ignored[static_cast<std::size_t>(match)] && task.ignored[object]) break;
        if (task.overlap[c] < best) continue;
        best = task.overlap[c];
        match = task.object[c];
      }
      if (match >= 0) taken[static_cast<std::size_t>(match)] = 1;
      out.push_back(match);
    }
  }
  return out;
}

}  // namespace sslmed::metrics
