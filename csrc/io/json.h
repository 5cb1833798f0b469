#pragma once
// A strict JSON reader for the small documents that we parse from untrusted files (safetensors headers, our checkpoints'
// metadata). Stricter than the usual libraries where it matters for safety: duplicate keys, depth and bad escapes are refused.

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sslmed::io {

class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Json {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  bool boolean = false;
  std::string text;  // a string's value, or a number as it was written
  std::vector<Json> items;
  struct Member;
  std::vector<Member> members;  // in the order of the document

  const Json* find(std::string_view key) const;
  // A non-negative integer that fits; JsonError otherwise (no fractions, no exponents, no sign).
  std::uint64_t as_unsigned() const;
  double as_double() const;
};

// Outside, because it holds a Json: a pair with one would be incomplete inside it.
struct Json::Member {
  std::string name;
  Json value;
};

// Parses a whole document; JsonError with the byte offset on anything else than one value and trailing white space.
Json parse_json(std::string_view document);

// `text` as a JSON string literal, quotes included.
std::string json_quote(std::string_view text);

}  // namespace sslmed::io
