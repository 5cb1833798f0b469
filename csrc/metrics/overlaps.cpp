#include "metrics/overlaps.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "core/simd.h"

namespace sslmed::metrics {
namespace {

// Cells from `i` on in which neither map changes.
template <class T, class U>
SSLMED_INLINE std::int64_t run_of(const T* a, const U* b, std::int64_t i, std::int64_t n) {
  const T first = a[i];
  const U second = b[i];
  auto end = i + 1;
  for (; end + 32 <= n; end += 32) {
    int changes = 0;
    for (int k = 0; k < 32; ++k) changes |= (a[end + k] != first) | (b[end + k] != second);
    if (changes) break;
  }
  while (end < n && a[end] == first && b[end] == second) ++end;
  return end;
}

SSLMED_CLONES std::int64_t run_bb(const std::uint8_t* a, const std::uint8_t* b, std::int64_t i, std::int64_t n) { return run_of(a, b, i, n); }
SSLMED_CLONES std::int64_t run_bw(const std::uint8_t* a, const std::int32_t* b, std::int64_t i, std::int64_t n) { return run_of(a, b, i, n); }
SSLMED_CLONES std::int64_t run_wb(const std::int32_t* a, const std::uint8_t* b, std::int64_t i, std::int64_t n) { return run_of(a, b, i, n); }
SSLMED_CLONES std::int64_t run_ww(const std::int32_t* a, const std::int32_t* b, std::int64_t i, std::int64_t n) { return run_of(a, b, i, n); }

// Labels in the order in which they are met, small ones without hashing.
class LabelList {
 public:
  std::vector<LabelArea> areas;

  std::int32_t position(std::int32_t label) {
    if (label == last_) return last_position_;
    last_ = label;
    if (label >= 0 && label < kSmall) {
      auto& known = small_[static_cast<std::size_t>(label)];
      if (known < 0) known = append(label);
      return last_position_ = known;
    }
    const auto [found, fresh] = large_.try_emplace(label, 0);
    if (fresh) found->second = append(label);
    return last_position_ = found->second;
  }

  // The positions that the labels have once they are sorted.
  std::vector<std::int32_t> sort() {
    std::vector<std::int32_t> order(areas.size()), place(areas.size());
    std::iota(order.begin(), order.end(), 0);
    const auto label = [this](std::int32_t i) { return areas[static_cast<std::size_t>(i)].label; };
    std::sort(order.begin(), order.end(), [&](std::int32_t i, std::int32_t j) { return label(i) < label(j); });
    std::vector<LabelArea> sorted(areas.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      sorted[i] = areas[static_cast<std::size_t>(order[i])];
      place[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
    }
    areas = std::move(sorted);
    return place;
  }

 private:
  std::int32_t append(std::int32_t label) {
    areas.push_back({label, 0, {0, 0, 0}});
    return static_cast<std::int32_t>(areas.size()) - 1;
  }

  static constexpr std::int32_t kSmall = 1 << 16;
  std::vector<std::int32_t> small_ = std::vector<std::int32_t>(kSmall, -1);
  std::unordered_map<std::int32_t, std::int32_t> large_;
  std::int32_t last_ = 0, last_position_ = -1;  // 0 is never asked for
};

class Counter {
 public:
  void count(std::int32_t a, std::int32_t b, std::int64_t x, std::int64_t y, std::int64_t z, std::int64_t n) {
    const auto i = a == 0 ? -1 : add(prediction_, a, x, y, z, n);
    const auto j = b == 0 ? -1 : add(reference_, b, x, y, z, n);
    if (i >= 0 && j >= 0) shared(i, j) += n;
  }

  Overlaps finish() {
    const auto first = prediction_.sort(), second = reference_.sort();
    Overlaps out{std::move(prediction_.areas), std::move(reference_.areas), {}};
    for (const auto& [key, cells] : pairs_)
      out.pairs.push_back({first[static_cast<std::size_t>(key >> 32)], second[static_cast<std::size_t>(key & 0xffffffffu)], cells});
    std::sort(out.pairs.begin(), out.pairs.end(),
              [](const Overlap& p, const Overlap& q) { return p.prediction != q.prediction ? p.prediction < q.prediction : p.reference < q.reference; });
    return out;
  }

 private:
  static std::int32_t add(LabelList& list, std::int32_t label, std::int64_t x, std::int64_t y, std::int64_t z, std::int64_t n) {
    const auto position = list.position(label);
    auto& area = list.areas[static_cast<std::size_t>(position)];
    const auto cells = static_cast<double>(n);
    area.cells += n;
    area.sum[0] += cells * static_cast<double>(x);
    area.sum[1] += cells * static_cast<double>(y);
    area.sum[2] += cells * (static_cast<double>(z) + (cells - 1) / 2);
    return position;
  }

  std::int64_t& shared(std::int32_t i, std::int32_t j) {
    const auto key = static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint32_t>(j);
    if (!last_ || key != last_key_) {
      last_ = &pairs_[key];  // references into the map stay valid
      last_key_ = key;
    }
    return *last_;
  }

  LabelList prediction_, reference_;
  std::unordered_map<std::uint64_t, std::int64_t> pairs_;
  std::uint64_t last_key_ = 0;
  std::int64_t* last_ = nullptr;
};

template <class T, class U, class Run>
Overlaps count_runs(const T* a, const U* b, const Shape& shape, Run&& run) {
  Counter counter;
  const auto n = shape[2];
  for (std::int64_t x = 0; x < shape[0]; ++x)
    for (std::int64_t y = 0; y < shape[1]; ++y, a += n, b += n)
      for (std::int64_t z = 0; z < n;) {
        const auto end = run(a, b, z, n);
        if (a[z] != 0 || b[z] != 0) counter.count(a[z], b[z], x, y, z, end - z);
        z = end;
      }
  return counter.finish();
}

// What a map's cells must be: `label`, or with `any` whatever is not 0.
template <class T>
struct Wanted {
  bool any;
  T label;
};

template <class T, class U>
SSLMED_INLINE std::array<std::int64_t, 3> count_masks(const T* a, const U* b, std::int64_t n, Wanted<T> first, Wanted<U> second) {
  std::array<std::int64_t, 3> sums{};
  for (std::int64_t begin = 0; begin < n; begin += 8192) {
    const auto end = std::min(n, begin + 8192);
    std::uint32_t i = 0, j = 0, both = 0;
    for (auto k = begin; k < end; ++k) {
      const std::uint32_t p = first.any ? a[k] != 0 : a[k] == first.label;
      const std::uint32_t r = second.any ? b[k] != 0 : b[k] == second.label;
      i += p;
      j += r;
      both += p & r;
    }
    sums[0] += i;
    sums[1] += j;
    sums[2] += both;
  }
  return sums;
}

using Bytes = Wanted<std::uint8_t>;
using Words = Wanted<std::int32_t>;

SSLMED_CLONES std::array<std::int64_t, 3> masks_bb(const std::uint8_t* a, const std::uint8_t* b, std::int64_t n, Bytes p, Bytes r) {
  return count_masks(a, b, n, p, r);
}
SSLMED_CLONES std::array<std::int64_t, 3> masks_bw(const std::uint8_t* a, const std::int32_t* b, std::int64_t n, Bytes p, Words r) {
  return count_masks(a, b, n, p, r);
}
SSLMED_CLONES std::array<std::int64_t, 3> masks_ww(const std::int32_t* a, const std::int32_t* b, std::int64_t n, Words p, Words r) {
  return count_masks(a, b, n, p, r);
}

}  // namespace

std::array<std::int64_t, 3> mask_counts(const LabelMap& p, const LabelMap& r, const Which& which) {
  const auto label = which.value_or(0);
  // A label that bytes cannot have is in none: the count of both is then 0, as is that of the bytes.
  const bool large = which && (label < 0 || label > 255);
  const Bytes bytes{!which, static_cast<std::uint8_t>(large ? 0 : label)};
  const Words words{!which, label};
  std::array<std::int64_t, 3> sums{};
  if (p.narrow && r.narrow) {
    if (!large) sums = masks_bb(p.narrow, r.narrow, p.cells(), bytes, bytes);
    return sums;
  }
  if (!p.narrow && !r.narrow) return masks_ww(p.wide, r.wide, p.cells(), words, words);
  const auto& narrow = p.narrow ? p : r;
  const auto& wide = p.narrow ? r : p;
  sums = masks_bw(narrow.narrow, wide.wide, p.cells(), bytes, words);
  if (large) sums[0] = sums[2] = 0;
  if (!p.narrow) std::swap(sums[0], sums[1]);
  return sums;
}

Overlaps overlaps_of(const LabelMap& p, const LabelMap& r) {
  if (p.narrow) return r.narrow ? count_runs(p.narrow, r.narrow, p.shape, run_bb) : count_runs(p.narrow, r.wide, p.shape, run_bw);
  return r.narrow ? count_runs(p.wide, r.narrow, p.shape, run_wb) : count_runs(p.wide, r.wide, p.shape, run_ww);
}

}  // namespace sslmed::metrics
