#include "io/recording_store.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <mutex>

#include "core/file.h"

namespace sslmed::io {
namespace {

std::mutex store_mutex;
std::string store_folder = "sslmed-recordings";

std::string stamp_text(const std::string& path) {
  const FileStamp stamp = File(path).stamp();
  return std::to_string(stamp.size) + " " + std::to_string(stamp.seconds) + " " + std::to_string(stamp.nanoseconds);
}

// FNV-1a: the names need to differ, not to withstand anybody.
std::string hash_text(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace

void set_recording_store(const std::string& folder) {
  const std::lock_guard lock(store_mutex);
  store_folder = folder;
}

std::string recording_store() {
  const std::lock_guard lock(store_mutex);
  return store_folder;
}

std::string stored_recording(const std::string& path) {
  std::string key = std::filesystem::absolute(path).lexically_normal().string() + "\n" + stamp_text(path);
  const auto beside = std::filesystem::path(path).replace_extension(".fdt");
  std::error_code ignored;
  if (std::filesystem::is_regular_file(beside, ignored)) key += "\n" + stamp_text(beside.string());
  const std::string name = std::filesystem::path(path).stem().string() + "-" + hash_text(key) + ".vhdr";
  return (std::filesystem::path(recording_store()) / name).string();
}

}  // namespace sslmed::io
