#pragma once
// Decoded tiles that were used last, of all slides together, up to a number of bytes. Thread-safe.
//
// A tile is kept from the second time that it is wanted within what the cache could hold: random regions of large slides hardly ever
// meet a tile again, and for them decoding the wanted part of it is cheaper than decoding and keeping the whole.

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace sslmed::io {

class TileCache {
 public:
  struct Key {
    std::uint64_t slide, directory, tile;
    bool operator==(const Key&) const = default;
  };
  using Tile = std::shared_ptr<const std::vector<std::uint8_t>>;

  explicit TileCache(std::size_t capacity) : capacity_(capacity) {}

  // The tile; nothing when it is not held, and then `keep` says whether it is worth decoding whole and putting here.
  Tile get(const Key& key, std::size_t bytes, bool& keep);
  void put(const Key& key, Tile tile);
  void set_capacity(std::size_t bytes);
  std::size_t capacity() const;
  std::size_t bytes() const;

 private:
  struct Entry {
    Key key;
    Tile tile;  // nothing: wanted once
    std::size_t bytes;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept {
      return static_cast<std::size_t>((key.slide * 0x9E3779B97F4A7C15U + key.directory) * 0xBF58476D1CE4E5B9U + key.tile * 0x94D049BB133111EBU);
    }
  };
  void trim();

  mutable std::mutex mutex_;
  std::size_t capacity_, held_ = 0, wanted_ = 0;  // bytes of tiles that are here, and of those that were wanted once
  std::list<Entry> recent_;
  std::unordered_map<Key, std::list<Entry>::iterator, Hash> by_key_;
};

// The one that all slides share unless they are told otherwise: 128 MiB at first (set_slide_cache). OpenSlide's own are 32 MiB for every open slide.
std::shared_ptr<TileCache> shared_tile_cache();

}  // namespace sslmed::io
