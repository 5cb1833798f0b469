#pragma once
// Numbers as text, the same everywhere.

#include <charconv>
#include <string>

namespace sslmed::volume {

inline std::string decimal(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class Numbers>
std::string decimals(const Numbers& numbers) {
  std::string out = "[";
  for (const auto value : numbers) out += (out.size() > 1 ? ", " : "") + decimal(static_cast<double>(value));
  return out + "]";
}

}  // namespace sslmed::volume
