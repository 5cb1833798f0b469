#include "catch.h"
#include "nn/tokens.h"

using namespace sslmed::nn;

TEST_CASE("joined sequences come apart again, whatever their lengths") {
  const Lengths heads{2, 2, 3, 1}, tails{4, 4, 4, 4, 1, 1, 5, 5};
  const auto head = at::arange(8).unsqueeze(1).to(at::kDouble), tail = 100 + at::arange(28).unsqueeze(1).to(at::kDouble);
  Lengths lengths;
  const auto rows = join(head, heads, tail, tails, lengths);
  CHECK(lengths == Lengths{6, 6, 6, 6, 4, 4, 6, 6});
  CHECK(rows.size(0) == 44);
  // Every tail stands behind its head.
  CHECK(rows[6][0].item<double>() == 0);
  CHECK(rows[8][0].item<double>() == 104);
  CHECK(rows[12][0].item<double>() == 2);
  CHECK(at::equal(split_tail(rows, heads, tails), tail));
  CHECK_THROWS_AS(join(head, heads, tail, {4, 4, 4}, lengths), c10::ValueError);
  CHECK_THROWS_AS(join(head, heads, tail, {4, 3, 4, 4, 1, 1, 5, 5}, lengths), c10::ValueError);
}

TEST_CASE("a token in front is the first row, and can be dropped") {
  const Lengths own{2, 3, 3};
  const auto rows = at::arange(16).view({8, 2}).to(at::kDouble), token = at::full({1, 2}, -1.0, at::kDouble);
  const auto longer = prepend(rows, token, layout_of(own));
  const auto lengths = Rows(own).longer().lengths();
  CHECK(lengths == Lengths{3, 4, 4});
  CHECK(longer.size(0) == 11);
  CHECK(at::equal(first_rows(longer, lengths), token.expand({3, 2})));
  CHECK(at::equal(drop_first(longer, lengths), rows));
  CHECK(at::allclose(mean_rows(longer, lengths, 1)[1], rows.narrow(0, 2, 3).mean(0)));
}
