#pragma once
// Tiles of one slide at given places, read ahead by threads and handed out in order: prediction of whole slides.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/ordered_queue.h"
#include "core/thread_pool.h"
#include "io/slide.h"

namespace sslmed::picture {

struct SlideTilesOptions {
  std::array<double, 2> pixel{1, 1};  // pixels of level 0 that one of a tile is wide and high
  std::int64_t size = 512;            // pixels of a tile's sides
  unsigned threads = 2;
  std::uint64_t ahead = 8;  // tiles that are read before they are asked for
};

class SlideTiles {
 public:
  // `corners`: (x, y) of each tile in pixels of level 0. ValueError for options out of range.
  SlideTiles(std::shared_ptr<const io::Slide> slide, std::vector<std::array<double, 2>> corners, const SlideTilesOptions& options);
  ~SlideTiles() { pool_.join(); }

  std::int64_t size() const { return static_cast<std::int64_t>(corners_.size()); }
  std::int64_t side() const { return options_.size; }
  // The next tile, bytes [3, size, size]; nothing after the last one. Throws what its reading threw.
  std::optional<std::vector<std::uint8_t>> next() { return queue_.pop(); }

 private:
  void read(unsigned thread);

  std::shared_ptr<const io::Slide> slide_;
  std::vector<std::array<double, 2>> corners_;
  SlideTilesOptions options_;
  OrderedQueue<std::vector<std::uint8_t>> queue_;
  ThreadPool pool_;  // last: its threads end before what they use
};

}  // namespace sslmed::picture
