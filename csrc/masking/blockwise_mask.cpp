#include "masking/blockwise_mask.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "core/error.h"

namespace sslmed::masking {
namespace {

// A block of a grid: its first cell and sides along each axis.
struct GridBlock {
  std::vector<std::int64_t> first, sides;
};

// Sides of about `area` cells whose quotients are within the range; none where the draw is outside of it or too large.
std::optional<std::vector<std::int64_t>> draw_sides(const std::vector<std::int32_t>& extent, double area, const BlockwiseOptions& options, Philox& random) {
  const auto rank = extent.size();
  const double low = std::log(options.aspect[0]), high = std::log(options.aspect[1]);
  std::vector<double> logs(rank, 0);  // of each side, as a multiple of the last one
  double sum = 0;
  for (std::size_t a = 0; a + 1 < rank; ++a) sum += logs[a] = low + (high - low) * random.uniform();
  for (std::size_t a = 0; a < rank; ++a)
    for (std::size_t b = a + 1; b < rank; ++b)
      if (logs[a] - logs[b] < low || logs[a] - logs[b] > high) return std::nullopt;
  const double last = (std::log(area) - sum) / static_cast<double>(rank);
  std::vector<std::int64_t> sides(rank);
  for (std::size_t a = 0; a < rank; ++a) {
    sides[a] = std::max<std::int64_t>(1, std::llround(std::exp(last + logs[a])));
    if (sides[a] > extent[a]) return std::nullopt;
  }
  return sides;
}

GridBlock place_block(const std::vector<std::int32_t>& extent, std::vector<std::int64_t> sides, Philox& random) {
  GridBlock block{{}, std::move(sides)};
  for (std::size_t a = 0; a < extent.size(); ++a) block.first.push_back(random.below(static_cast<std::uint32_t>(extent[a] - block.sides[a] + 1)));
  return block;
}

// Calls f(cell) for each cell of a block, row-major.
template <class F>
void for_cells(const std::vector<std::int32_t>& extent, const GridBlock& block, F&& f) {
  const auto rank = extent.size();
  std::vector<std::int64_t> at(rank, 0);
  std::int64_t count = 1;
  for (const auto side : block.sides) count *= side;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t cell = 0;
    for (std::size_t a = 0; a < rank; ++a) cell = cell * extent[a] + block.first[a] + at[a];
    f(static_cast<std::size_t>(cell));
    for (std::size_t a = rank; a-- > 0 && ++at[a] == block.sides[a];) at[a] = 0;
  }
}

// Hides one block of at most `most` tokens that are visible now; gives how many it hid, 0 where no block fitted.
std::int64_t hide_block(const std::vector<std::int32_t>& extent, std::int64_t most, const BlockwiseOptions& options, Philox& random,
                        std::vector<std::uint8_t>& open) {
  for (int attempt = 0; attempt < options.tries; ++attempt) {
    const auto low = static_cast<double>(options.min_cells), high = static_cast<double>(most);
    const double area = low + (high - low) * random.uniform();
    auto sides = draw_sides(extent, area, options, random);
    if (!sides) continue;
    const auto block = place_block(extent, std::move(*sides), random);
    std::int64_t fresh = 0;
    for_cells(extent, block, [&](std::size_t cell) { fresh += open[cell]; });
    if (fresh == 0 || fresh > most) continue;
    for_cells(extent, block, [&](std::size_t cell) { open[cell] = 0; });
    return fresh;
  }
  return 0;
}

}  // namespace

Mask blockwise_mask(const std::vector<std::int32_t>& extent, const std::vector<std::int64_t>& cells, std::int64_t keep, const Draw& draw,
                    const BlockwiseOptions& options) {
  const auto n = static_cast<std::int64_t>(cells.size());
  if (extent.size() < 2) throw ValueError("mask='block' needs a grid of two axes or more, got " + std::to_string(extent.size()));
  if (keep < 1 || keep >= n) throw ValueError("cannot keep " + std::to_string(keep) + " of " + std::to_string(n) + " tokens");
  std::int64_t all = 1;
  for (const auto side : extent) all *= side;
  std::vector<std::uint8_t> open(static_cast<std::size_t>(all), 0);  // cells with a token that is visible
  for (const auto cell : cells) {
    if (cell < 0 || cell >= all) throw ValueError("cell " + std::to_string(cell) + " is outside of a grid of " + std::to_string(all) + " cells");
    open[static_cast<std::size_t>(cell)] = 1;
  }
  Philox random(draw, Stream::kMask, /*many=*/true);
  auto left = n - keep;
  while (left > 0) {
    const auto hidden = hide_block(extent, left, options, random, open);
    if (hidden == 0) break;
    left -= hidden;
  }
  Mask mask;
  for (std::int64_t i = 0; i < n; ++i)
    (open[static_cast<std::size_t>(cells[static_cast<std::size_t>(i)])] != 0 ? mask.visible : mask.masked).push_back(static_cast<std::int32_t>(i));
  for (; left > 0; --left) {
    const auto i = random.below(static_cast<std::uint32_t>(mask.visible.size()));
    mask.masked.push_back(mask.visible[i]);
    mask.visible.erase(mask.visible.begin() + i);
  }
  std::sort(mask.masked.begin(), mask.masked.end());
  return mask;
}

}  // namespace sslmed::masking
