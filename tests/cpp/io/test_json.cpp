#include <catch2/catch.hpp>

#include "io/json.h"

using namespace sslmed::io;

TEST_CASE("a document is read as it stands") {
  const Json root = parse_json(R"( {"a": [1, -2.5e3, true, null], "b": {"c": "x\u00e9\ud83d\ude00\n\"/"}} )");
  CHECK(root.find("a")->items[0].as_unsigned() == 1);
  CHECK(root.find("a")->items[1].as_double() == -2500);
  CHECK(root.find("b")->find("c")->text == "x\xc3\xa9\xf0\x9f\x98\x80\n\"/");
  CHECK(root.find("z") == nullptr);
  CHECK(parse_json(json_quote("quote \" \\ \n \x01")).text == "quote \" \\ \n \x01");
}

TEST_CASE("what is not JSON is refused") {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01", "1.", "1e", "-", "tru", "\"\\x\"", "\"\\ud800\"", "\"\\u12\"", "\"a\nb\"", "[1] 2", "nan"})
    CHECK_THROWS_AS(parse_json(text), JsonError);
  CHECK_THROWS_AS(parse_json(std::string(100, '[')), JsonError);
  CHECK_THROWS_AS(parse_json("18446744073709551616").as_unsigned(), JsonError);
  CHECK_THROWS_AS(parse_json("-1").as_unsigned(), JsonError);
}
