#include "masking/neighborhood_mask.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/error.h"

namespace sslmed::masking {
namespace {

constexpr int kContextTries = 100;

double between(const double range[2], Philox& random) { return range[0] + (range[1] - range[0]) * random.uniform(); }

// The `count` tokens nearest to a random one, under a metric stretched along each axis; ascending.
std::vector<std::int32_t> nearest(const float* coords, std::int64_t n, std::int64_t count, const double aspect[2], Philox& random) {
  const auto center = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(n)));
  double stretch[3];
  for (auto& by : stretch) by = std::exp(std::log(aspect[0]) + (std::log(aspect[1]) - std::log(aspect[0])) * random.uniform());
  std::vector<std::pair<double, std::int32_t>> distance(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int a = 0; a < 3; ++a) sum += std::pow((coords[4 * i + a] - coords[4 * center + a]) * stretch[a], 2);
    distance[static_cast<std::size_t>(i)] = {sum, static_cast<std::int32_t>(i)};  // ties by number
  }
  std::nth_element(distance.begin(), distance.begin() + (count - 1), distance.end());
  std::vector<std::int32_t> out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back(distance[static_cast<std::size_t>(i)].second);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Mask neighborhood_mask(const float* coords, std::int64_t n, const Draw& draw, const Draw& batch, const NeighborhoodOptions& options) {
  if (n < 8) throw ValueError("blocks of neighbors need 8 tokens or more, got " + std::to_string(n));
  Philox sizes(batch, Stream::kBlockSize);
  const auto count = [n](double share) { return std::clamp<std::int64_t>(std::llround(share * static_cast<double>(n)), 1, n); };
  const auto target = count(between(options.target_scale, sizes)), context = count(between(options.context_scale, sizes));
  const auto least = n < 80 ? n / 8 : options.min_context;
  Philox random(draw, Stream::kMask, /*many=*/true);
  for (int attempt = 0; attempt < kContextTries; ++attempt) {
    Mask mask;
    mask.blocks = static_cast<std::int32_t>(options.targets);
    std::vector<char> hidden(static_cast<std::size_t>(n), 0);
    for (std::int64_t block = 0; block < options.targets; ++block) {
      const auto tokens = nearest(coords, n, target, options.target_aspect, random);
      for (const auto token : tokens) hidden[static_cast<std::size_t>(token)] = 1;
      mask.masked.insert(mask.masked.end(), tokens.begin(), tokens.end());
    }
    const double round[2] = {1, 1};
    for (const auto token : nearest(coords, n, context, round, random))
      if (hidden[static_cast<std::size_t>(token)] == 0) mask.visible.push_back(token);
    if (static_cast<std::int64_t>(mask.visible.size()) > least) return mask;
  }
  throw ValueError("blocks of neighbors: no context was left of " + std::to_string(n) + " tokens");
}

}  // namespace sslmed::masking
