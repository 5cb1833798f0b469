#include "core/error.h"

#include <cstdio>
#include <cstring>

namespace sslmed {

FormatError::FormatError(const std::string& path, std::string_view expected, std::string_view found)
    : std::runtime_error(path + ": expected " + std::string(expected) + ", found " + std::string(found)) {}

ReadError::ReadError(const std::string& path, std::string_view what, int error_number)
    : std::runtime_error(path + ": " + std::string(what) + (error_number != 0 ? ": " + std::string(std::strerror(error_number)) : std::string())),
      error_number_(error_number) {}

std::string quote(std::string_view text, std::size_t limit) {
  std::string out = "'";
  for (std::size_t i = 0; i < text.size() && i < limit; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f) {
      out += static_cast<char>(c);
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
      out += escaped;
    }
  }
  out += text.size() > limit ? "…'" : "'";
  return out;
}

}  // namespace sslmed
