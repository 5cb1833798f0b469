#include <catch2/catch.hpp>

#include "core/error.h"
#include "edf_bytes.h"
#include "io/edf_header.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

TEST_CASE("text of either encoding becomes UTF-8") {
  CHECK(to_utf8("plain") == "plain");
  CHECK(to_utf8("\xb5V") == "\xc2\xb5V");
  CHECK(to_utf8("\xc2\xb5V") == "\xc2\xb5V");
  CHECK(to_utf8("\xed\xa0\x80") == "\xc3\xad\xc2\xa0\xc2\x80");  // a surrogate is no UTF-8
  CHECK(to_utf8("\xc3") == "\xc3\x83");
}

TEST_CASE("a header is read, and every cut of it is refused") {
  const testing::TemporaryFolder folder;
  const std::string bytes = testing::edf_bytes({0, 1});
  std::vector<std::string> warnings;
  const EdfHeader header = read_edf_header(File(folder.write("a", bytes)), warnings);
  CHECK(warnings.empty());
  CHECK(header.signals.size() == 2);
  CHECK(header.signals[1].is_annotation);
  CHECK(header.n_records == 2);
  CHECK(header.start->year == 2004);
  for (std::size_t n = 0; n < 768; n += 13) CHECK_THROWS_AS(read_edf_header(File(folder.write("cut", bytes.substr(0, n))), warnings), FormatError);
}
