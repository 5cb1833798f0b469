#include <catch2/catch.hpp>

#include "core/error.h"
#include "core/file.h"
#include "temporary.h"

using namespace sslmed;

TEST_CASE("reads are exact or an error that names the file") {
  const testing::TemporaryFolder folder;
  const File file(folder.write("a", "hello world"));
  CHECK(file.size() == 11);
  char bytes[5];
  file.read(bytes, 5, 6);
  CHECK(std::string(bytes, 5) == "world");
  CHECK_THROWS_AS(file.read(bytes, 5, 7), ReadError);
  CHECK_THROWS_WITH(file.read(bytes, 5, 7), Catch::Contains(file.path()) && Catch::Contains("ends at byte 11"));
  CHECK_THROWS_AS(File(folder / "none"), ReadError);
  CHECK_THROWS_AS(File(folder.path().string()), ReadError);
}

TEST_CASE("an atomic file appears when it is committed, and leaves nothing otherwise") {
  const testing::TemporaryFolder folder;
  folder.write("a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new", 3);
    CHECK(File(folder / "a").size() == 3);
    char bytes[3];
    File(folder / "a").read(bytes, 3, 0);
    CHECK(std::string(bytes, 3) == "old");
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  AtomicFile file(folder / "a");
  file.write("newer", 5);
  file.commit();
  CHECK(File(folder / "a").size() == 5);
  CHECK_THROWS_AS(AtomicFile(folder / "no/such"), ReadError);
}

TEST_CASE("messages quote bytes that a terminal should not see") {
  CHECK(quote("a\nb\x01") == "'a\\x0ab\\x01'");
  CHECK(quote(std::string(100, 'x'), 4) == "'xxxx…'");
}
