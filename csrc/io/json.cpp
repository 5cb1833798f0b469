#include "io/json.h"

#include <charconv>
#include <cstdio>
#include <set>

namespace sslmed::io {
namespace {

constexpr int kMaxDepth = 32;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("nothing more");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* expected) const { throw JsonError(std::string("JSON: expected ") + expected + " at byte " + std::to_string(at_)); }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }
  void accept_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) fail("a value");
    at_ += word.size();
  }

  Json parse_value(int depth) {
    if (depth > kMaxDepth) fail("less nesting");
    skip_space();
    if (at_ >= text_.size()) fail("a value");
    Json value;
    const char c = text_[at_];
    if (c == '{') {
      parse_object(value, depth);
    } else if (c == '[') {
      parse_array(value, depth);
    } else if (c == '"') {
      value.kind = Json::Kind::kString;
      value.text = parse_string();
    } else if (c == 't' || c == 'f') {
      value.kind = Json::Kind::kBool;
      value.boolean = c == 't';
      accept_word(c == 't' ? "true" : "false");
    } else if (c == 'n') {
      accept_word("null");
    } else {
      value.kind = Json::Kind::kNumber;
      value.text = parse_number();
    }
    return value;
  }

  void parse_object(Json& value, int depth) {
    value.kind = Json::Kind::kObject;
    std::set<std::string, std::less<>> seen;
    ++at_;
    skip_space();
    if (accept('}')) return;
    do {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') fail("a key");
      std::string key = parse_string();
      if (!seen.insert(key).second) fail("no duplicate key");
      skip_space();
      if (!accept(':')) fail("':'");
      value.members.push_back({std::move(key), parse_value(depth + 1)});
      skip_space();
    } while (accept(','));
    if (!accept('}')) fail("',' or '}'");
  }

  void parse_array(Json& value, int depth) {
    value.kind = Json::Kind::kArray;
    ++at_;
    skip_space();
    if (accept(']')) return;
    do {
      value.items.push_back(parse_value(depth + 1));
      skip_space();
    } while (accept(','));
    if (!accept(']')) fail("',' or ']'");
  }

  std::string parse_number() {
    const std::size_t start = at_;
    accept('-');
    const std::size_t digits = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == digits || (text_[digits] == '0' && at_ - digits > 1)) fail("a number");
    if (accept('.')) digits_or_fail();
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (!accept('+')) accept('-');
      digits_or_fail();
    }
    return std::string(text_.substr(start, at_ - start));
  }
  void digits_or_fail() {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == start) fail("a digit");
  }

  unsigned parse_hex4() {
    if (at_ + 4 > text_.size()) fail("four hexadecimal digits");
    unsigned code = 0;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, code, 16);
    if (result.ptr != text_.data() + at_ + 4) fail("four hexadecimal digits");
    at_ += 4;
    return code;
  }
  static void append_utf8(std::string& out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      out += static_cast<char>(0xE0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      out += static_cast<char>(0xF0 | (code >> 18));
      out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  void parse_escape(std::string& out) {
    if (at_ >= text_.size()) fail("an escape");
    const char c = text_[at_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return;
      case 'b':
        out += '\b';
        return;
      case 'f':
        out += '\f';
        return;
      case 'n':
        out += '\n';
        return;
      case 'r':
        out += '\r';
        return;
      case 't':
        out += '\t';
        return;
      case 'u':
        break;
      default:
        fail("a known escape");
    }
    unsigned code = parse_hex4();
    if (code >= 0xDC00 && code <= 0xDFFF) fail("no lone surrogate");
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (!accept('\\') || !accept('u')) fail("the second half of a surrogate pair");
      const unsigned low = parse_hex4();
      if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }
  std::string parse_string() {
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("the end of a string");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) fail("no control character in a string");
      if (c == '\\') {
        parse_escape(out);
      } else {
        out += c;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

std::uint64_t Json::as_unsigned() const {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (kind != Kind::kNumber || result.ec != std::errc() || result.ptr != end)
    throw JsonError("JSON: expected a non-negative 64-bit integer, found " + (kind == Kind::kNumber ? text : "something else"));
  return value;
}

double Json::as_double() const {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (kind != Kind::kNumber || result.ec != std::errc() || result.ptr != end) throw JsonError("JSON: expected a number");
  return value;
}

Json parse_json(std::string_view document) { return Parser(document).document(); }

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace sslmed::io
