#include <catch2/catch.hpp>

#include "core/error.h"
#include "io/edflib.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

TEST_CASE("what EDFlib writes, both readers read alike") {
  const testing::TemporaryFolder folder;
  if (!edflib_available()) {
    CHECK_THROWS_WITH(edflib_validate(folder / "x"), Catch::Contains("libedf-dev"));
    return;
  }
  std::vector<double> data(200);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<double>(i % 50) - 25;
  edflib_write(folder / "a.edf", {{"Cz", "uV", 100, -100, 100, data.data(), 200}}, {{0.5, 1.0, "note"}}, DateTime{2001, 2, 3, 4, 5, 6, 0}, "P", false);
  const EdfFile file(folder / "a.edf");
  const auto theirs = edflib_read_channel(folder / "a.edf", 0);
  std::vector<double> ours(200);
  file.read_channel(0, 0, 200, ours.data());
  for (std::size_t i = 0; i < 200; ++i) REQUIRE(ours[i] == Approx(theirs[i]).margin(1e-9));
  std::vector<std::string> notes;
  CHECK(file.annotations(notes).at(0).text == edflib_annotations(folder / "a.edf").at(0).text);
  edflib_validate(folder / "a.edf");
  CHECK_THROWS_AS(edflib_validate(folder.write("b.edf", "nonsense")), FormatError);
  CHECK_THROWS_AS(edflib_validate(folder / "none"), ReadError);
  data[3] = 1e9;
  CHECK_THROWS_AS(edflib_write(folder / "c.edf", {{"Cz", "uV", 100, -100, 100, data.data(), 200}}, {}, std::nullopt, "", false), ValueError);
  CHECK_FALSE(std::filesystem::exists(folder / "c.edf"));
}
