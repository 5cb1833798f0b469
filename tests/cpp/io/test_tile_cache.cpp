#include <catch2/catch.hpp>

#include "io/tile_cache.h"

using sslmed::io::TileCache;

namespace {
TileCache::Tile tile(std::size_t bytes) { return std::make_shared<std::vector<std::uint8_t>>(bytes); }
}  // namespace

TEST_CASE("a tile is worth keeping from the second time that it is wanted") {
  TileCache cache(1000);
  bool keep = true;
  CHECK_FALSE(cache.get({1, 0, 7}, 100, keep));
  CHECK_FALSE(keep);
  CHECK_FALSE(cache.get({1, 0, 7}, 100, keep));
  CHECK(keep);
  cache.put({1, 0, 7}, tile(100));
  CHECK(cache.get({1, 0, 7}, 100, keep));
  CHECK(cache.bytes() == 100);
  // Another slide, directory or tile is another key.
  for (const TileCache::Key key : {TileCache::Key{2, 0, 7}, {1, 1, 7}, {1, 0, 8}}) CHECK_FALSE(cache.get(key, 100, keep));
}

TEST_CASE("the cache holds what was used last, within its bytes") {
  TileCache cache(1000);
  bool keep = false;
  for (std::uint64_t i = 0; i < 30; ++i) {
    cache.get({1, 0, i}, 100, keep);
    cache.get({1, 0, i}, 100, keep);
    CHECK(keep);
    cache.put({1, 0, i}, tile(100));
    CHECK(cache.get({1, 0, 0}, 100, keep));  // used all the time: stays
    CHECK(cache.bytes() <= 1000);
  }
  CHECK(cache.bytes() == 1000);
  CHECK_FALSE(cache.get({1, 0, 5}, 100, keep));
  cache.set_capacity(250);
  CHECK(cache.bytes() == 200);
  cache.set_capacity(0);
  CHECK(cache.bytes() == 0);
  CHECK_FALSE(cache.get({1, 0, 0}, 100, keep));
  CHECK_FALSE(keep);
}

TEST_CASE("a tile wanted again after more than the cache could hold is as new") {
  TileCache cache(1000);
  bool keep = false;
  for (std::uint64_t i = 0; i < 50; ++i) cache.get({1, 0, i}, 100, keep);
  cache.get({1, 0, 45}, 100, keep);
  CHECK(keep);
  cache.get({1, 0, 3}, 100, keep);
  CHECK_FALSE(keep);
  cache.put({1, 0, 40}, tile(100));  // forgotten, or never asked for: nothing happens
  cache.put({9, 9, 9}, tile(100));
  CHECK(cache.bytes() <= 1000);
}
