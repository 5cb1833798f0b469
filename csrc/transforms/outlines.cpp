#include "transforms/outlines.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace sslmed::transforms {
namespace {

using Ring = std::vector<std::array<std::int64_t, 2>>;

// Traces the edges of cells with the inside on the right (y downwards): outer rings turn one way and holes the other. Where two cells touch by a corner
// alone, the way turns left, so that no ring passes a place twice.
class EdgeTracer {
 public:
  struct End {
    std::int64_t x;
    bool first;  // the left end of a run
    std::int32_t top = -1;
  };

  // The ends of a row's runs, from left to right, after those of the row above; both may be empty.
  void line(std::int64_t y, std::vector<End>& above, std::vector<End>& below) {
    std::size_t i = 0, j = 0;
    bool in_above = false, in_below = false;
    std::int32_t left = -1;  // the node where the horizontal edge begins that is being followed
    while (i < above.size() || j < below.size()) {
      const auto x = j == below.size() || (i < above.size() && above[i].x <= below[j].x) ? above[i].x : below[j].x;
      End* upper = i < above.size() && above[i].x == x ? &above[i++] : nullptr;
      End* lower = j < below.size() && below[j].x == x ? &below[j++] : nullptr;
      const bool edge = in_above != in_below, inside_below = in_below;
      if (upper) in_above = upper->first;
      if (lower) in_below = lower->first;
      if (upper && lower && upper->first == lower->first) {
        lower->top = upper->top;
        continue;
      }
      const auto node = add(x, y);
      if (upper && lower) {
        // Two cells touch by a corner: `node` has the edge to the right, `other` the one from the left.
        const auto other = add(x, y);
        horizontal(left, other, inside_below);
        left = node;
        vertical(*upper, upper->first ? other : node);
        lower->top = upper->first ? node : other;
        continue;
      }
      if (upper) vertical(*upper, node);
      if (lower) lower->top = node;
      if (edge) {
        horizontal(left, node, inside_below);
      } else {
        left = node;
      }
    }
  }

  // All rings, the outer one first.
  std::vector<Ring> rings() {
    std::vector<Ring> out;
    std::vector<bool> seen(next_.size(), false);
    for (std::size_t start = 0; start < next_.size(); ++start) {
      if (seen[start]) continue;
      Ring ring;
      auto at = start;
      do {
        seen[at] = true;
        ring.push_back(places_[at]);
        at = static_cast<std::size_t>(next_[at]);
      } while (at != start);
      ring.push_back(ring.front());
      out.push_back(std::move(ring));
    }
    const auto outer = std::find_if(out.begin(), out.end(), [](const Ring& ring) {
      std::int64_t twice = 0;
      for (std::size_t k = 0; k + 1 < ring.size(); ++k) twice += ring[k][0] * ring[k + 1][1] - ring[k + 1][0] * ring[k][1];
      return twice > 0;
    });
    if (outer != out.end()) std::rotate(out.begin(), outer, outer + 1);
    return out;
  }

 private:
  std::int32_t add(std::int64_t x, std::int64_t y) {
    places_.push_back({x, y});
    next_.push_back(-1);
    return static_cast<std::int32_t>(next_.size()) - 1;
  }
  void horizontal(std::int32_t left, std::int32_t right, bool inside_below) {
    if (inside_below) {
      next_[static_cast<std::size_t>(left)] = right;
    } else {
      next_[static_cast<std::size_t>(right)] = left;
    }
  }
  // Left ends of runs are followed upwards, right ends downwards.
  void vertical(const End& upper, std::int32_t bottom) {
    if (upper.first) {
      next_[static_cast<std::size_t>(bottom)] = upper.top;
    } else {
      next_[static_cast<std::size_t>(upper.top)] = bottom;
    }
  }

  std::vector<std::array<std::int64_t, 2>> places_;
  std::vector<std::int32_t> next_;
};

}  // namespace

Outliner::Outliner(std::int64_t width, std::int32_t background) : width_(width), background_(background) {
  if (width < 1) throw ValueError("Outliner: width=" + std::to_string(width) + " must be at least 1 cell");
}

std::int32_t Outliner::root(std::int32_t object) {
  auto at = static_cast<std::size_t>(object);
  while (parent_[at] != static_cast<std::int32_t>(at)) at = static_cast<std::size_t>(parent_[at] = parent_[static_cast<std::size_t>(parent_[at])]);
  return static_cast<std::int32_t>(at);
}

std::int32_t Outliner::fresh(std::int32_t value) {
  std::int32_t object;
  if (free_.empty()) {
    object = static_cast<std::int32_t>(open_.size());
    open_.emplace_back();
    parent_.push_back(object);
  } else {
    object = free_.back();
    free_.pop_back();
    parent_[static_cast<std::size_t>(object)] = object;
  }
  open_[static_cast<std::size_t>(object)] = {value, row_, {}};
  return object;
}

std::int32_t Outliner::joined(std::int32_t a, std::int32_t b) {
  if (a == b) return a;
  auto &left = open_[static_cast<std::size_t>(a)], &right = open_[static_cast<std::size_t>(b)];
  if (left.runs.size() < right.runs.size()) return joined(b, a);
  left.runs.insert(left.runs.end(), right.runs.begin(), right.runs.end());
  right = {};
  parent_[static_cast<std::size_t>(b)] = a;
  joined_.push_back(b);
  return a;
}

void Outliner::next_row(const std::int32_t* cells) {
  current_.clear();
  std::size_t upper = 0;
  for (std::int64_t begin = 0; begin < width_;) {
    const auto value = cells[begin];
    auto end = begin + 1;
    while (end < width_ && cells[end] == value) ++end;
    if (value != background_) {
      std::int32_t object = -1;
      while (upper < above_.size() && above_[upper].end <= begin) ++upper;
      for (auto k = upper; k < above_.size() && above_[k].begin < end; ++k) {
        const auto other = root(above_[k].object);
        if (open_[static_cast<std::size_t>(other)].value == value) object = object < 0 ? other : joined(root(object), other);
      }
      if (object < 0) object = fresh(value);
      auto& open = open_[static_cast<std::size_t>(object)];
      open.runs.push_back({row_, begin, end});
      open.last = row_;
      current_.push_back({begin, end, object});
    }
    begin = end;
  }
  for (auto& run : current_) {
    run.object = root(run.object);
    open_[static_cast<std::size_t>(run.object)].last = row_;
  }
  for (const auto& run : above_) {
    const auto object = root(run.object);
    const auto& open = open_[static_cast<std::size_t>(object)];
    if (!open.runs.empty() && open.last < row_) complete(object);
  }
  free_.insert(free_.end(), joined_.begin(), joined_.end());
  joined_.clear();
  std::swap(above_, current_);
  ++row_;
}

void Outliner::complete(std::int32_t object) {
  auto& open = open_[static_cast<std::size_t>(object)];
  auto& runs = open.runs;
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.row != b.row ? a.row < b.row : a.begin < b.begin; });
  OutlinedObject out;
  out.value = open.value;
  EdgeTracer tracer;
  std::vector<EdgeTracer::End> above, below;
  for (std::size_t i = 0; i < runs.size();) {
    const auto row = runs[i].row;
    below.clear();
    for (; i < runs.size() && runs[i].row == row; ++i) {
      const auto cells = runs[i].end - runs[i].begin;
      out.area += cells;
      out.x += static_cast<double>(cells) * static_cast<double>(runs[i].begin + runs[i].end) / 2;
      out.y += static_cast<double>(cells) * (static_cast<double>(row) + 0.5);
      below.push_back({runs[i].begin, true});
      below.push_back({runs[i].end, false});
    }
    tracer.line(row, above, below);
    std::swap(above, below);
  }
  below.clear();
  tracer.line(runs.back().row + 1, above, below);
  out.x /= static_cast<double>(out.area);
  out.y /= static_cast<double>(out.area);
  out.rings = tracer.rings();
  done_.push_back(std::move(out));
  open = {};
  free_.push_back(object);
}

void Outliner::add(const std::int32_t* rows, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) next_row(rows + i * width_);
}

void Outliner::finish() {
  const std::vector<std::int32_t> empty(static_cast<std::size_t>(width_), background_);
  next_row(empty.data());
}

std::vector<OutlinedObject> Outliner::take() { return std::exchange(done_, {}); }

}  // namespace sslmed::transforms
