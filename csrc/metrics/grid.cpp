#include "metrics/grid.h"

#include <algorithm>
#include <cstring>

#include "core/simd.h"

namespace sslmed::metrics {
namespace {

template <class T>
SSLMED_INLINE std::uint8_t is_object(T value, bool any, T label) {
  return any ? value != 0 : value == label;
}

// Whether a row has a cell of the object, in blocks that vector instructions take.
template <class T>
SSLMED_INLINE bool touches(const T* row, std::int64_t n, bool any, T label) {
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    T seen = 0;
    for (int k = 0; k < 64; ++k) seen = static_cast<T>(seen | static_cast<T>(is_object(row[i + k], any, label)));
    if (seen) return true;
  }
  for (; i < n; ++i)
    if (is_object(row[i], any, label)) return true;
  return false;
}

template <class T>
SSLMED_INLINE Box box_of(const T* values, const Shape& shape, bool any, T label) {
  Box box{shape, {0, 0, 0}};
  for (std::int64_t x = 0; x < shape[0]; ++x) {
    for (std::int64_t y = 0; y < shape[1]; ++y) {
      const T* row = values + (x * shape[1] + y) * shape[2];
      if (!touches(row, shape[2], any, label)) continue;
      box.first[0] = std::min(box.first[0], x);
      box.last[0] = x + 1;
      box.first[1] = std::min(box.first[1], y);
      box.last[1] = std::max(box.last[1], y + 1);
      for (std::int64_t z = 0; z < box.first[2]; ++z)
        if (is_object(row[z], any, label)) box.first[2] = z;
      for (std::int64_t z = shape[2]; z > box.last[2]; --z)
        if (is_object(row[z - 1], any, label)) box.last[2] = z;
    }
  }
  return box.last[0] == 0 ? Box{} : box;
}

SSLMED_CLONES Box box_of_bytes(const std::uint8_t* values, const Shape& shape, bool any, std::uint8_t label) { return box_of(values, shape, any, label); }

SSLMED_CLONES Box box_of_words(const std::int32_t* values, const Shape& shape, bool any, std::int32_t label) { return box_of(values, shape, any, label); }

template <class T>
SSLMED_INLINE void copy_rows(const T* values, const Shape& shape, const Box& box, bool any, T label, Mask& into) {
  for (std::int64_t x = box.first[0]; x < box.last[0]; ++x) {
    for (std::int64_t y = box.first[1]; y < box.last[1]; ++y) {
      const T* from = values + (x * shape[1] + y) * shape[2] + box.first[2];
      const auto row = (x - into.origin[0]) * into.shape[1] + (y - into.origin[1]);
      std::uint8_t* to = into.values.data() + row * into.shape[2] + 1;
      for (std::int64_t z = 0; z < box.size(2); ++z) to[z] = is_object(from[z], any, label);
    }
  }
}

SSLMED_CLONES void copy_bytes(const LabelMap& map, const Box& box, bool any, std::uint8_t label, Mask& into) {
  copy_rows(map.narrow, map.shape, box, any, label, into);
}

SSLMED_CLONES void copy_words(const LabelMap& map, const Box& box, bool any, std::int32_t label, Mask& into) {
  copy_rows(map.wide, map.shape, box, any, label, into);
}

// Labels that bytes cannot have are nowhere in them.
bool out_of_reach(const LabelMap& map, const Which& which) { return map.narrow && which && (*which < 0 || *which > 255); }

}  // namespace

Box bounding_box(const LabelMap& map, const Which& which) {
  if (out_of_reach(map, which)) return {};
  const auto label = which.value_or(0);
  if (map.narrow) return box_of_bytes(map.narrow, map.shape, !which, static_cast<std::uint8_t>(label));
  return box_of_words(map.wide, map.shape, !which, label);
}

Mask crop(const LabelMap& map, const Which& which) {
  const auto box = bounding_box(map, which);
  Mask mask;
  mask.rank = map.rank;
  if (box.empty()) return mask;
  const std::int64_t margin = map.rank == 3 ? 1 : 0;
  mask.shape = {box.size(0) + 2 * margin, box.size(1) + 2, box.size(2) + 2};
  mask.origin = {box.first[0] - margin, box.first[1] - 1, box.first[2] - 1};
  mask.values.resize(static_cast<std::size_t>(mask.shape[0] * mask.shape[1] * mask.shape[2]));
  const auto label = which.value_or(0);
  if (map.narrow) {
    copy_bytes(map, box, !which, static_cast<std::uint8_t>(label), mask);
  } else {
    copy_words(map, box, !which, label, mask);
  }
  return mask;
}

}  // namespace sslmed::metrics
