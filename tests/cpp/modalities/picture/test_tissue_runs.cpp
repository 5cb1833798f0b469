#include <algorithm>
#include <catch2/catch.hpp>

#include "core/error.h"
#include "modalities/picture/tissue_runs.h"

using namespace sslmed;
using namespace sslmed::picture;

TEST_CASE("runs of tissue come back as they were, and cut or overlong ones are refused") {
  std::vector<TissueRun> runs;
  std::vector<std::uint8_t> patchy(240, 0);
  for (std::size_t i = 0; i < patchy.size(); ++i) patchy[i] = i % 7 < 3 || (i > 100 && i < 150) ? 1 : 0;
  for (const auto& mask : {patchy, std::vector<std::uint8_t>(240, 0), std::vector<std::uint8_t>(240, 1), std::vector<std::uint8_t>(100'000, 1)}) {
    const auto cells = static_cast<std::int64_t>(mask.size());
    const auto bytes = tissue_runs(mask.data(), cells);
    read_tissue_runs(bytes, cells, runs);
    std::vector<std::uint8_t> back(mask.size(), 0);
    for (const auto& run : runs) std::fill(back.begin() + run.first, back.begin() + run.last, 1);
    CHECK(back == mask);
    if (bytes.empty()) continue;
    const auto last = runs.back().last;
    CHECK_THROWS_AS(read_tissue_runs(bytes.substr(0, bytes.size() - 1), cells, runs), ValueError);
    CHECK_THROWS_AS(read_tissue_runs(bytes, last - 1, runs), ValueError);
  }
  CHECK_THROWS_AS(read_tissue_runs(std::string(12, '\xff'), 240, runs), ValueError);
}
