#pragma once
// Label maps and boxes of cells. A picture [H, W] is a volume [1, H, W] of rank 2, so that one code serves both.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace sslmed::metrics {

using Shape = std::array<std::int64_t, 3>;
using Spacing = std::array<double, 3>;

// Whole numbers a cell, row-major: `narrow` where they are bytes, otherwise `wide`.
struct LabelMap {
  const std::uint8_t* narrow = nullptr;
  const std::int32_t* wide = nullptr;
  Shape shape{1, 1, 1};
  int rank = 3;  // 2: the first axis has one cell

  std::int64_t cells() const noexcept { return shape[0] * shape[1] * shape[2]; }
};

// Cells [first, last) along each axis.
struct Box {
  Shape first{0, 0, 0};
  Shape last{0, 0, 0};

  bool empty() const noexcept { return last[0] <= first[0] || last[1] <= first[1] || last[2] <= first[2]; }
  std::int64_t size(int axis) const noexcept { return last[static_cast<std::size_t>(axis)] - first[static_cast<std::size_t>(axis)]; }
};

// The cells of a label, or all that are not 0.
using Which = std::optional<std::int32_t>;

// A box of bytes, 1 inside of the object, with a margin of one cell of 0 on all sides; none along an axis that a
// picture does not have.
struct Mask {
  std::vector<std::uint8_t> values;
  Shape shape{0, 0, 0};   // with the margin
  Shape origin{0, 0, 0};  // of the first byte, in cells of the map: -1 where the box starts at the edge
  int rank = 3;

  bool empty() const noexcept { return values.empty(); }
};

// The smallest box around the object; empty without one.
Box bounding_box(const LabelMap& map, const Which& which);
// The object within its bounding box; empty without one.
Mask crop(const LabelMap& map, const Which& which);

}  // namespace sslmed::metrics
