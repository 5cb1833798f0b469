#include "io/store_key.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "core/file.h"

namespace sslmed::io {

std::string version_of(const std::string& path) {
  const FileStamp stamp = File(path).stamp();
  const auto place = std::filesystem::absolute(path).lexically_normal().string();
  return place + "\n" + std::to_string(stamp.size) + " " + std::to_string(stamp.seconds) + " " + std::to_string(stamp.nanoseconds);
}

std::string copy_name(const std::string& path, const std::string& key) {
  // FNV-1a: the names need to differ, not to withstand anybody.
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return std::filesystem::path(path).stem().string() + "-" + digits;
}

}  // namespace sslmed::io
