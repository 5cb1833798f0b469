#include <cmath>

#include "catch.h"
#include "train/monitor.h"

using namespace sslmed::train;

TEST_CASE("equal features are collapsed, and directions are counted") {
  const auto same = feature_health(at::ones({6, 4}));
  CHECK(same.std == 0);
  CHECK(same.effective_rank == Approx(1));
  // Two orthogonal directions of equal size.
  const auto two = at::tensor({1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0}).view({4, 2});
  CHECK(feature_health(two).effective_rank == Approx(2));
  CHECK(feature_health(two).std == Approx(1));
  CHECK(std::isnan(feature_health(at::ones({1, 4})).std));
  CHECK(feature_health(at::zeros({3, 4})).std == 0);
  CHECK(std::isnan(feature_health(at::full({3, 4}, std::nan(""))).effective_rank));
  CHECK(std::isnan(feature_health(at::full({3, 4}, 1e38) * 10).std));
}
