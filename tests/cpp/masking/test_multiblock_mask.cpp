#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "core/error.h"
#include "masking/multiblock_mask.h"

using namespace sslmed;
using namespace sslmed::masking;

TEST_CASE("a context never holds a cell of a target, on any grid that is taken") {
  for (const auto placement : {Placement::kExact, Placement::kUnbiased}) {
    for (std::int64_t rows = 1; rows <= 20; rows += 3) {
      for (std::int64_t columns = 1; columns <= 31; columns += 5) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          try {
            const MultiblockMask mask(rows, columns, placement, {seed, 0, 0});
            std::vector<std::int64_t> targets(static_cast<std::size_t>(mask.targets() * mask.target_size())),
                context(static_cast<std::size_t>(mask.cells() + 1));
            context.resize(static_cast<std::size_t>(mask.draw({seed, 1, 2}, targets.data(), context.data())));
            REQUIRE_FALSE(context.empty());
            const std::set<std::int64_t> hidden(targets.begin(), targets.end());
            REQUIRE(*hidden.begin() >= 0);
            REQUIRE(*hidden.rbegin() < mask.cells());
            for (const auto cell : context) REQUIRE((hidden.count(cell) == 0 && cell >= 0 && cell < mask.cells()));
          } catch (const ValueError&) {
            // Only where there is hardly a grid.
            REQUIRE((rows * columns < 8 || rows == 1 || columns == 1 || rows * columns < 40));
          }
        }
      }
    }
  }
}

TEST_CASE("sizes belong to the batch, places to the sample") {
  const MultiblockMask a(14, 14, Placement::kExact, {1, 0, 0}), b(14, 14, Placement::kExact, {1, 0, 0});
  CHECK(a.target_size() == b.target_size());
  std::set<std::int64_t> sizes;
  for (std::uint64_t batch = 0; batch < 60; ++batch) sizes.insert(MultiblockMask(14, 14, Placement::kExact, {1, 0, batch}).target_size());
  CHECK(sizes == std::set<std::int64_t>{30, 35, 36, 40});
  CHECK_THROWS_AS(MultiblockMask(1, 196, Placement::kExact, {}), ValueError);
  CHECK_THROWS_AS(MultiblockMask(2, 3, Placement::kUnbiased, {}), ValueError);
}
