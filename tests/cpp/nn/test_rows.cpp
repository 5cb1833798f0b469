#include "catch.h"
#include "nn/rows.h"

using namespace sslmed::nn;

TEST_CASE("rows know their sequences, their runs and whose they are") {
  const Rows rows({3, 3, 5, 3}, {7, 7, 2, 4});
  CHECK(rows.total() == 14);
  CHECK(rows.sequences() == 4);
  CHECK(rows.lengths() == Lengths{3, 3, 5, 3});
  CHECK(rows.samples() == std::vector<std::int64_t>{7, 7, 2, 4});  // two views of one sample
  REQUIRE(rows.layout().size() == 3);
  CHECK(rows.layout()[0].count == 2);
  CHECK(rows.layout()[1].first_row == 6);
  CHECK(rows.layout()[2].length == 3);
  CHECK(Rows({2, 1}).samples() == std::vector<std::int64_t>{0, 1});  // each sequence a sample of its own
  const Rows none((Lengths()));
  CHECK(none.total() == 0);
  CHECK(none.layout().empty());
}

TEST_CASE("a row more for each sequence, or one alone, are the same samples'") {
  const Rows rows({3, 3, 5}, {7, 7, 2});
  const auto longer = rows.longer();
  CHECK(longer.lengths() == Lengths{4, 4, 6});
  CHECK(longer.total() == 14);
  CHECK(longer.samples() == rows.samples());
  CHECK(longer.layout().size() == 2);
  const auto single = rows.single();
  CHECK(single.lengths() == Lengths{1, 1, 1});
  CHECK(single.samples() == rows.samples());
  CHECK(Rows::single(3).samples() == std::vector<std::int64_t>{0, 1, 2});
  CHECK(Rows::single(3).layout().size() == 1);
}

TEST_CASE("sequences of more or fewer samples are refused") {
  CHECK_THROWS_WITH(Rows({3, 3}, {1}), Catch::Contains("2 sequences of 1 samples"));
  CHECK_THROWS_AS(Rows::single(2, {1, 2, 3}), c10::ValueError);
}
