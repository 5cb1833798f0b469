#include "masking/permutations.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/random.h"

namespace sslmed::masking {
namespace {

constexpr std::int64_t kMostOrders = 50'000;
constexpr std::int32_t kMostTiles = 255;

// tiles!, or more than kMostOrders.
std::int64_t orders_of(std::int32_t tiles) {
  std::int64_t orders = 1;
  for (std::int64_t i = 2; i <= tiles && orders <= kMostOrders; ++i) orders *= i;
  return orders;
}

// Orders one after the other, a byte a tile.
std::vector<std::uint8_t> pool_of_orders(std::int32_t tiles, std::uint64_t seed) {
  std::vector<std::uint8_t> order(static_cast<std::size_t>(tiles)), pool;
  std::iota(order.begin(), order.end(), std::uint8_t{0});
  if (orders_of(tiles) <= kMostOrders) {
    do pool.insert(pool.end(), order.begin(), order.end());
    while (std::next_permutation(order.begin(), order.end()));
    return pool;
  }
  pool.reserve(static_cast<std::size_t>(kMostOrders * tiles));
  for (std::int64_t i = 0; i < kMostOrders; ++i) {
    Philox random({seed, 0, static_cast<std::uint64_t>(i) + 1}, Stream::kPermutation);
    for (auto place = order.size() - 1; place > 0; --place) std::swap(order[place], order[random.below(static_cast<std::uint32_t>(place + 1))]);
    pool.insert(pool.end(), order.begin(), order.end());
  }
  return pool;
}

}  // namespace

std::vector<std::vector<std::int32_t>> distant_permutations(std::int32_t tiles, std::int64_t count, std::uint64_t seed) {
  if (tiles < 2 || tiles > kMostTiles) throw ValueError("tiles=" + std::to_string(tiles) + " must be within 2 and " + std::to_string(kMostTiles));
  const auto most = std::min(orders_of(tiles), kMostOrders);
  if (count < 2 || count > most)
    throw ValueError("permutations=" + std::to_string(count) + " must be within 2 and " + std::to_string(most) + ", the orders of " + std::to_string(tiles) +
                     " tiles that are looked at");
  const auto pool = pool_of_orders(tiles, seed);
  const auto width = static_cast<std::size_t>(tiles), size = pool.size() / width;
  std::vector<std::int64_t> distance(size, 0);  // to all chosen so far, summed; -1: chosen
  std::vector<std::vector<std::int32_t>> chosen;
  auto next = static_cast<std::size_t>(Philox({seed, 0, 0}, Stream::kPermutation).below(static_cast<std::uint32_t>(size)));
  while (true) {
    const auto* order = &pool[next * width];
    chosen.emplace_back(order, order + width);
    if (static_cast<std::int64_t>(chosen.size()) == count) return chosen;
    for (std::size_t i = 0; i < size; ++i) {
      if (distance[i] < 0) continue;
      const auto* other = &pool[i * width];
      int differ = 0;
      for (std::size_t place = 0; place < width; ++place) differ += order[place] != other[place];
      distance[i] = differ == 0 ? -1 : distance[i] + differ;
    }
    next = static_cast<std::size_t>(std::max_element(distance.begin(), distance.end()) - distance.begin());
    if (distance[next] < 0) throw ValueError("permutations=" + std::to_string(count) + " are more than the different orders that were drawn");
  }
}

}  // namespace sslmed::masking
