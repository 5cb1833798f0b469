#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "transforms/lanes.h"

using namespace sslmed;
using namespace sslmed::transforms;

TEST_CASE("rows go into lanes and come back; spare lanes repeat the last row") {
  for (const std::int64_t length : {1, 63, 64, 65, 200}) {
    for (int n = 1; n <= kLanes; ++n) {
      std::vector<std::vector<double>> in, out(static_cast<std::size_t>(n), std::vector<double>(static_cast<std::size_t>(length), -1));
      std::vector<std::vector<float>> narrow;
      for (int c = 0; c < n; ++c) {
        in.emplace_back();
        narrow.emplace_back();
        for (std::int64_t t = 0; t < length; ++t) in.back().push_back(1000.0 * c + static_cast<double>(t));
        narrow.back().assign(in.back().begin(), in.back().end());
      }
      std::vector<const double*> rows;
      std::vector<const float*> narrow_rows;
      std::vector<double*> results;
      for (std::size_t c = 0; c < in.size(); ++c) {
        rows.push_back(in[c].data());
        narrow_rows.push_back(narrow[c].data());
        results.push_back(out[c].data());
      }
      LaneBuffer buffer, other;
      Lanes *lanes = buffer.resize(length), *same = other.resize(length);
      interleave(rows.data(), n, length, lanes);
      interleave(narrow_rows.data(), n, length, same);
      for (int c = 0; c < kLanes; ++c) {
        REQUIRE(lanes[length - 1][c] == in[static_cast<std::size_t>(std::min(c, n - 1))].back());
        REQUIRE(same[length - 1][c] == lanes[length - 1][c]);
      }
      deinterleave(lanes, n, length, results.data());
      REQUIRE(out == in);
    }
  }
}

TEST_CASE("a lane buffer is aligned for vectors, whatever its size") {
  LaneBuffer buffer;
  for (const std::int64_t length : {1, 3, 1000, 2}) CHECK(reinterpret_cast<std::uintptr_t>(buffer.resize(length)) % alignof(Lanes) == 0);
}
