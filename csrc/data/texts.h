#pragma once
// A column of texts or bytes, as Arrow has it in memory.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sslmed::data {

// Texts end to end, text i at [offsets[i], offsets[i + 1]): not copied, `owner` keeps them alive.
struct Texts {
  const std::int64_t* offsets = nullptr;
  const char* bytes = nullptr;
  std::shared_ptr<const void> owner;
  std::string_view view(std::int64_t i) const { return {bytes + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])}; }
  std::string at(std::int64_t i) const { return std::string(view(i)); }
};

}  // namespace sslmed::data
