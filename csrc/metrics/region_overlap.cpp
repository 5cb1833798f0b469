#include "metrics/region_overlap.h"

#include <algorithm>
#include <cmath>

namespace sslmed::metrics {
namespace {

struct Cell {
  double score;
  std::int32_t region;
};

struct Counts {
  std::int64_t background = 0;
  std::vector<std::int64_t> regions;  // [0] is not used
};

Counts count(const std::int32_t* regions, std::int64_t cells) {
  Counts counts;
  counts.regions.resize(1);
  for (std::int64_t i = 0; i < cells; ++i) {
    const auto region = static_cast<std::size_t>(regions[i]);
    if (region >= counts.regions.size()) counts.regions.resize(region + 1);
    ++(region == 0 ? counts.background : counts.regions[region]);
  }
  return counts;
}

// f(background cells so far, cells of regions so far) after each group of equal scores of the cells that `takes` takes,
// highest first, and before the first; until f is false.
template <class Takes, class F>
void walk(const std::vector<Cell>& sorted, Takes&& takes, F&& f) {
  std::int64_t outside = 0, inside = 0;
  if (!f(outside, inside)) return;
  bool open = false;
  double score = 0;
  for (const auto& cell : sorted) {
    if (!takes(cell.region)) continue;
    if (open && cell.score != score && !f(outside, inside)) return;
    open = true;
    score = cell.score;
    ++(cell.region == 0 ? outside : inside);
  }
  if (open) f(outside, inside);
}

// One region's curve, at the places of the points that are kept, and the last place asked for.
struct Own {
  std::vector<double> fpr, tpr, place;
  double last = 0;
};

Own own_curve(const std::vector<Cell>& sorted, std::int32_t region, const Counts& counts, double limit, double points) {
  Own own;
  const auto all = static_cast<double>(counts.background);
  const auto size = static_cast<double>(counts.regions[static_cast<std::size_t>(region)]);
  walk(
      sorted, [region](std::int32_t other) { return other == 0 || other == region; },
      [&](std::int64_t outside, std::int64_t inside) {
        own.fpr.push_back(static_cast<double>(outside) / all);
        own.tpr.push_back(static_cast<double>(inside) / size);
        return own.fpr.back() <= limit;
      });
  // The first point at the limit or beyond it, and the last one within.
  const auto reach = static_cast<std::size_t>(std::lower_bound(own.fpr.begin(), own.fpr.end(), limit) - own.fpr.begin());
  auto kept = static_cast<std::size_t>(std::upper_bound(own.fpr.begin(), own.fpr.end(), limit) - own.fpr.begin());
  const bool nothing = own.fpr[kept - 1] == 0;
  const bool close = !nothing && std::abs(own.fpr[kept - 1] - limit) <= 1e-8 + 1e-5 * limit;
  double share = 1;
  if (!close) {
    if (!nothing) share = 1 - (own.fpr[reach] - limit) / (own.fpr[reach] - own.fpr[reach - 1]);
    kept = reach + 1;
  }
  own.fpr.resize(kept);
  own.tpr.resize(kept);
  for (std::size_t i = 0; i < kept; ++i) own.place.push_back(static_cast<double>(i) / static_cast<double>(kept - 1) * points);
  own.last = points;
  if (!close && kept > 1) own.last = own.place[kept - 2] + (own.place[kept - 1] - own.place[kept - 2]) * share;
  return own;
}

void add_resampled(const Own& own, RegionCurve& sum) {
  const auto n = sum.fpr.size();
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double place = i + 1 == n ? own.last : static_cast<double>(i);
    if (i + 1 == n) at = 0;  // it may lie before the one before
    while (at + 2 < own.place.size() && own.place[at + 1] < place) ++at;
    const double width = own.place[at + 1] - own.place[at];
    const double share = width > 0 ? (place - own.place[at]) / width : 0;
    sum.fpr[i] += own.fpr[at] + share * (own.fpr[at + 1] - own.fpr[at]);
    sum.tpr[i] += own.tpr[at] + share * (own.tpr[at + 1] - own.tpr[at]);
  }
}

}  // namespace

RegionCurve region_curve(const double* scores, const std::int32_t* regions, std::int64_t cells, double limit) {
  const auto counts = count(regions, cells);
  RegionCurve curve;
  if (counts.background == 0 || counts.regions.size() < 2) return curve;
  std::vector<Cell> sorted(static_cast<std::size_t>(cells));
  for (std::size_t i = 0; i < sorted.size(); ++i) sorted[i] = {scores[i], regions[i]};
  std::sort(sorted.begin(), sorted.end(), [](const Cell& a, const Cell& b) { return a.score > b.score; });
  std::size_t points = 0;
  walk(
      sorted, [](std::int32_t) { return true; },
      [&](std::int64_t outside, std::int64_t) {
        const bool within = static_cast<double>(outside) / static_cast<double>(counts.background) <= limit;
        points += within;
        return within;
      });
  curve.fpr.resize(points);
  curve.tpr.resize(points);
  double present = 0;
  for (std::size_t region = 1; region < counts.regions.size(); ++region) {
    if (counts.regions[region] == 0) continue;
    ++present;
    const auto own = own_curve(sorted, static_cast<std::int32_t>(region), counts, limit, static_cast<double>(points - 1));
    add_resampled(own, curve);
  }
  for (std::size_t i = 0; i < points; ++i) {
    curve.fpr[i] /= present;
    curve.tpr[i] /= present;
  }
  return curve;
}

}  // namespace sslmed::metrics
