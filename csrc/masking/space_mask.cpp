#include "masking/space_mask.h"

#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"

namespace sslmed::masking {

Mask space_mask(const Places& places, std::int64_t keep, double radius, std::int32_t block, const Draw& draw) {
  const auto n = places.n;
  if (keep < 1 || keep >= n) throw ValueError("cannot keep " + std::to_string(keep) + " of " + std::to_string(n) + " tokens");
  if (block < 1) throw ValueError("a block must be at least 1 long, got " + std::to_string(block));
  if (!(radius >= 0) || !std::isfinite(radius)) throw ValueError("a radius must not be negative, got " + std::to_string(radius));
  const auto near = [&](std::int64_t a, std::int64_t b) {
    if (places.grid[2 * a] == places.grid[2 * b]) return true;
    const float *p = places.coords + 4 * a, *q = places.coords + 4 * b;
    const double dx = p[0] - q[0], dy = p[1] - q[1], dz = p[2] - q[2];
    return dx * dx + dy * dy + dz * dz <= radius * radius;  // false where a place is unknown
  };
  Philox random(draw, Stream::kMask, /*many=*/true);
  // Open tokens in front, so that a centre is drawn among them and every draw hides something.
  std::vector<std::int32_t> open(static_cast<std::size_t>(n)), found;
  for (std::int64_t i = 0; i < n; ++i) open[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
  std::vector<char> hidden(static_cast<std::size_t>(n), 0);
  auto left = n - keep;
  while (left > 0) {
    const auto centre = open[random.below(static_cast<std::uint32_t>(open.size()))];
    // The centre's step is anywhere in the block, so that no border in time is favoured.
    const auto first = places.grid[2 * centre + 1] - static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(block)));
    found.clear();
    for (const auto i : open)
      if (places.grid[2 * i + 1] >= first && places.grid[2 * i + 1] < first + block && near(centre, i)) found.push_back(i);
    if (static_cast<std::int64_t>(found.size()) > left) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(left); ++i)
        std::swap(found[i], found[i + random.below(static_cast<std::uint32_t>(found.size() - i))]);
      found.resize(static_cast<std::size_t>(left));
    }
    for (const auto i : found) hidden[static_cast<std::size_t>(i)] = 1;
    left -= static_cast<std::int64_t>(found.size());
    std::erase_if(open, [&](std::int32_t i) { return hidden[static_cast<std::size_t>(i)] != 0; });
  }
  Mask mask;
  for (std::int64_t i = 0; i < n; ++i) (hidden[static_cast<std::size_t>(i)] ? mask.masked : mask.visible).push_back(static_cast<std::int32_t>(i));
  return mask;
}

}  // namespace sslmed::masking
