#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

#include "core/error.h"
#include "edf_bytes.h"
#include "io/edf.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

TEST_CASE("samples, segments and gaps") {
  const testing::TemporaryFolder folder;
  const EdfFile file(folder.write("d.edf", testing::edf_bytes({0, 1, 5, 6, 7})));
  CHECK(file.n_channels() == 1);
  CHECK(file.sfreq(0) == 10);
  REQUIRE(file.segments().size() == 2);
  CHECK(file.segments()[1].onset == 5);
  CHECK(file.grid_size(0) == 80);
  std::vector<float> grid(60);
  file.read_grid({0}, 10, 70, grid.data());
  CHECK(grid[0] == 10);
  CHECK(std::isnan(grid[10]));
  CHECK(std::isnan(grid[39]));
  CHECK(grid[40] == 20);
  CHECK(grid[59] == 39);
  std::vector<double> stored(50);
  file.read_channel(0, 0, 50, stored.data());
  CHECK(stored[49] == 49);
  CHECK_THROWS_AS(file.read_grid({0}, 0, 81, grid.data()), ValueError);
  CHECK_THROWS_AS(file.read_grid({1}, 0, 1, grid.data()), ValueError);
}

TEST_CASE("many threads read one file") {
  const testing::TemporaryFolder folder;
  const EdfFile file(folder.write("c.edf", testing::edf_bytes({0, 1, 2, 3, 4, 5, 6, 7}, "EDF+C")));
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::vector<float> x(20);
      for (int k = 0; k < 200; ++k) {
        const int first = (t * 7 + k) % 60;
        file.read_grid({0}, first, first + 20, x.data());
        wrong += x[0] != static_cast<float>(first) || x[19] != static_cast<float>(first + 19);
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("annotation lists") {
  std::optional<double> onset;
  std::vector<Annotation> found;
  const auto parse = [&](const std::string& text) {
    onset.reset();
    found.clear();
    return parse_annotation_lists(text, true, onset, found).malformed == 0;
  };
  CHECK(
      parse(std::string("+3.5\x14\x14\0+4\x15"
                        "2\x14"
                        "a\x14"
                        "b\x14\0\0\0",
                        19)));
  CHECK(onset == 3.5);
  REQUIRE(found.size() == 2);
  CHECK(found[1].text == "b");
  CHECK(found[1].duration == 2.0);
  for (const char* bad : {"x", "+", "+1", "+1\x15", "+1\x15-1\x14",
                          "+1\x14"
                          "a",
                          "+1e99\x14\x14", "+nan\x14\x14"})
    CHECK_FALSE(parse(bad));
  // A malformed list costs itself.
  CHECK_FALSE(
      parse(std::string("+1\x14\x14\0+2\x14"
                        "cut\0+3\x14"
                        "good\x14\0",
                        20)));
  CHECK(onset == 1.0);
  REQUIRE(found.size() == 1);
  CHECK(found[0].text == "good");
  for (const std::string& odd : {std::string("1\x14\x14"), std::string("+1,0\x14\x14"), std::string("+1\x14\x14\0   ", 8)}) {
    CHECK(parse(odd));
    CHECK(onset == 1.0);
  }
}
