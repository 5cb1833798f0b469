#include <catch2/catch.hpp>
#include <cmath>

#include "transforms/montage.h"

using namespace sslmed::transforms;

TEST_CASE("positions lie on the sphere, neighbours closer than strangers") {
  for (const auto& name : standard_names()) {
    const auto p = electrode_position(name).value();
    REQUIRE(std::hypot(p[0], p[1], p[2]) == Approx(95));
  }
  const auto distance = [](const char* a, const char* b) {
    const auto p = electrode_position(a).value(), q = electrode_position(b).value();
    return std::hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
  };
  CHECK(distance("C3", "C1") < distance("C3", "Cz"));
  CHECK(distance("Fp1", "AF7") < distance("Fp1", "F7"));
  CHECK(distance("O1", "PO7") < distance("O1", "P7"));
  CHECK(distance("F3", "F4") == Approx(distance("P3", "P4")));
  CHECK_FALSE(electrode_position("nose"));
}
