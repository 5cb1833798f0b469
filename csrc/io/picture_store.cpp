#include "io/picture_store.h"

#include <filesystem>
#include <mutex>

#include "io/store_key.h"

namespace sslmed::io {
namespace {

std::mutex picture_store_mutex;
std::string picture_store_folder = "sslmed-pictures";

}  // namespace

void set_picture_store(const std::string& folder) {
  const std::lock_guard lock(picture_store_mutex);
  picture_store_folder = folder;
}

std::string picture_store() {
  const std::lock_guard lock(picture_store_mutex);
  return picture_store_folder;
}

std::string stored_picture(const std::string& path, const std::string& voi) {
  return (std::filesystem::path(picture_store()) / (copy_name(path, version_of(path)) + "." + voi + ".tif")).string();
}

}  // namespace sslmed::io
