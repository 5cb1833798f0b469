#include "io/tile_cache.h"

#include <iterator>
#include <utility>

namespace sslmed::io {

TileCache::Tile TileCache::get(const Key& key, std::size_t bytes, bool& keep) {
  const std::lock_guard lock(mutex_);
  keep = false;
  if (bytes > capacity_) return nullptr;
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    keep = found->second->tile == nullptr;
    return found->second->tile;
  }
  recent_.push_front({key, nullptr, bytes});
  by_key_[key] = recent_.begin();
  wanted_ += bytes;
  trim();
  return nullptr;
}

void TileCache::put(const Key& key, Tile tile) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  // Another thread was first, or it was forgotten meanwhile: the caller has the tile all the same.
  if (found == by_key_.end() || found->second->tile != nullptr) return;
  wanted_ -= found->second->bytes;
  found->second->bytes = tile->size();
  held_ += tile->size();
  found->second->tile = std::move(tile);
  trim();
}

// Tiles wanted once are remembered for as long as as many bytes would have been held.
void TileCache::trim() {
  while (held_ > capacity_ || wanted_ > capacity_) {
    auto last = std::prev(recent_.end());
    if (held_ <= capacity_)
      while (last->tile != nullptr) --last;
    (last->tile != nullptr ? held_ : wanted_) -= last->bytes;
    by_key_.erase(last->key);
    recent_.erase(last);
  }
}

void TileCache::set_capacity(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
  trim();
}

std::size_t TileCache::capacity() const {
  const std::lock_guard lock(mutex_);
  return capacity_;
}

std::size_t TileCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

std::shared_ptr<TileCache> shared_tile_cache() {
  static const auto cache = std::make_shared<TileCache>(std::size_t{128} << 20);
  return cache;
}

}  // namespace sslmed::io
