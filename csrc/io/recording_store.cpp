#include "io/recording_store.h"

#include <filesystem>
#include <mutex>

#include "io/store_key.h"

namespace sslmed::io {
namespace {

std::mutex store_mutex;
std::string store_folder = "sslmed-recordings";

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
  std::string key = version_of(path);
  const auto beside = std::filesystem::path(path).replace_extension(".fdt");
  std::error_code ignored;
  if (std::filesystem::is_regular_file(beside, ignored)) key += "\n" + version_of(beside.string());
  return (std::filesystem::path(recording_store()) / (copy_name(path, key) + ".vhdr")).string();
}

}  // namespace sslmed::io
