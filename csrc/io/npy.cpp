#include "io/npy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/error.h"

namespace sslmed::io {
namespace {

constexpr std::size_t kMostNpyAxes = 64;  // NumPy's limit
constexpr std::array<std::uint8_t, 6> kNpyMagic{0x93, 'N', 'U', 'M', 'P', 'Y'};

// Kinds and widths that NumPy and torch share.
constexpr std::array<std::string_view, 14> kNpyTypes{"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"};

// The text of a header, read from the left. Only what NumPy writes is understood: no other Python.
class NpyText {
 public:
  NpyText(std::string where, std::string_view text) : where_(std::move(where)), text_(text) {}

  [[noreturn]] void refuse(const std::string& found) const {
    throw FormatError(where_, "the header of a .npy array, {'descr': …, 'fortran_order': …, 'shape': …}", found);
  }
  [[noreturn]] void refuse_type(const std::string& found) const {
    throw FormatError(where_, "an array of bool, integers, float16, float32, float64 or complex numbers", found);
  }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!take(c)) refuse(std::string("no '") + c + "' at character " + std::to_string(at_) + " of " + quote(text_));
  }
  bool at_end() {
    skip();
    return at_ == text_.size();
  }
  bool at_quote() {
    skip();
    return at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"');
  }
  std::string_view quoted() {
    if (!at_quote()) refuse("no quoted text at character " + std::to_string(at_) + " of " + quote(text_));
    const char mark = text_[at_++];
    const std::size_t end = text_.find(mark, at_);
    const auto found = end == std::string_view::npos ? end : text_.substr(at_, end - at_).find('\\');
    if (end == std::string_view::npos || found != std::string_view::npos) refuse("a text without an end, or with '\\', in " + quote(text_));
    const auto out = text_.substr(at_, end - at_);
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    skip();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    refuse("'fortran_order' that is neither True nor False in " + quote(text_));
  }
  std::int64_t whole() {
    skip();
    std::uint64_t value = 0;
    const std::size_t start = at_;
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (kMost - digit) / 10) refuse("a dimension beyond 63 bits in " + quote(text_));
      value = 10 * value + digit;
    }
    if (at_ == start) refuse("a dimension that is no number in " + quote(text_));
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote long numbers so
    return static_cast<std::int64_t>(value);
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }

  std::string where_;
  std::string_view text_;
  std::size_t at_ = 0;
};

void read_type(NpyText& text, NpyHeader& header) {
  if (!text.at_quote()) text.refuse_type("a structured array: save its fields one by one");
  const std::string_view whole = text.quoted();
  std::string_view type = whole;
  if (!type.empty() && std::string_view("<>=|").find(type[0]) != std::string_view::npos) type.remove_prefix(1);
  if (!type.empty() && type[0] == 'O') text.refuse_type("objects (dtype 'O'), which only pickle can read and which could run code");
  if (std::find(kNpyTypes.begin(), kNpyTypes.end(), type) == kNpyTypes.end()) text.refuse_type("dtype " + quote(whole));
  header.kind = type[0];
  header.width = 0;
  for (const char digit : type.substr(1)) header.width = 10 * header.width + static_cast<std::size_t>(digit - '0');
  header.is_swapped = whole[0] == '>' && header.width > 1;
}

void read_shape(NpyText& text, NpyHeader& header) {
  text.need('(');
  while (!text.take(')')) {
    header.shape.push_back(text.whole());
    if (header.shape.size() > kMostNpyAxes) text.refuse("a shape of more than " + std::to_string(kMostNpyAxes) + " axes");
    if (text.take(',')) continue;
    // "(3)" is a number in Python, not a shape.
    if (header.shape.size() == 1) text.refuse("a shape of one axis without a comma");
    text.need(')');
    break;
  }
}

// Bytes of all values.
std::uint64_t extent_of(const NpyText& text, const NpyHeader& header) {
  std::uint64_t bytes = header.width;
  bool is_empty = false;
  // A dimension of 0 makes no stride smaller, so the others count all the same.
  for (const auto side : header.shape) {
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(side, 1));
    if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / factor) text.refuse("a shape whose size overflows 63 bits");
    bytes *= factor;
    is_empty = is_empty || side == 0;
  }
  return is_empty ? 0 : bytes;
}

template <std::size_t N>
void swap_all(std::uint8_t* values, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += N) std::reverse(values + at, values + at + N);
}

}  // namespace

std::size_t npy_values_begin(const std::string& where, const std::uint8_t* bytes, std::size_t size) {
  if (size < 10 || !std::equal(kNpyMagic.begin(), kNpyMagic.end(), bytes))
    throw FormatError(where, "an array in .npy format", size < 10 ? std::to_string(size) + " bytes" : "other bytes at its start");
  const int major = bytes[6], minor = bytes[7];
  if (major < 1 || major > 3 || minor != 0) throw FormatError(where, ".npy version 1.0, 2.0 or 3.0", std::to_string(major) + "." + std::to_string(minor));
  const std::size_t wide = major == 1 ? 2 : 4, start = 8 + wide;
  if (size < start) throw FormatError(where, "a .npy header", std::to_string(size) + " bytes");
  std::size_t length = 0;
  for (std::size_t i = 0; i < wide; ++i) length |= static_cast<std::size_t>(bytes[8 + i]) << (8 * i);
  if (length > kMostNpyText) throw FormatError(where, "a .npy header of at most " + std::to_string(kMostNpyText) + " bytes", std::to_string(length) + " bytes");
  return start + length;
}

NpyHeader parse_npy_header(const std::string& where, const std::uint8_t* bytes, std::size_t size) {
  NpyHeader header;
  header.begin = npy_values_begin(where, bytes, size);
  if (size < header.begin) throw FormatError(where, "a .npy header of " + std::to_string(header.begin) + " bytes", std::to_string(size) + " bytes");
  const std::size_t start = bytes[6] == 1 ? 10 : 12;
  NpyText text(where, {reinterpret_cast<const char*>(bytes) + start, header.begin - start});
  bool has_type = false, has_order = false, has_shape = false;
  text.need('{');
  while (!text.take('}')) {
    const std::string_view key = text.quoted();
    bool& seen = key == "descr" ? has_type : key == "fortran_order" ? has_order : has_shape;
    if (seen || (&seen == &has_shape && key != "shape")) text.refuse("the key " + quote(key) + ", which is unknown or there twice");
    seen = true;
    text.need(':');
    if (key == "descr") read_type(text, header);
    if (key == "fortran_order") header.is_fortran = text.boolean();
    if (key == "shape") read_shape(text, header);
    if (!text.take(',')) {
      text.need('}');
      break;
    }
  }
  if (!has_type || !has_order || !has_shape) text.refuse("a header that lacks one of them");
  if (!text.at_end()) text.refuse("more text after the dictionary");
  header.bytes = extent_of(text, header);
  return header;
}

void finish_npy_values(const std::string& where, const NpyHeader& header, std::uint8_t* values) {
  if (header.kind == 'b') {
    const auto* odd = std::find_if(values, values + header.bytes, [](std::uint8_t value) { return value > 1; });
    if (odd != values + header.bytes) throw FormatError(where, "0 or 1 as the bytes of a bool array", std::to_string(*odd));
  }
  if (!header.is_swapped) return;
  switch (header.kind == 'c' ? header.width / 2 : header.width) {  // both parts of a complex number by themselves
    case 2:
      return swap_all<2>(values, header.bytes);
    case 4:
      return swap_all<4>(values, header.bytes);
    default:
      return swap_all<8>(values, header.bytes);
  }
}

}  // namespace sslmed::io
