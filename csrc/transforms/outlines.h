#pragma once
// Outlines of connected cells of a label map that is read row by row: a map of any height, of which no more than the open objects are held.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed::transforms {

// Connected cells (by their sides) of one value.
struct OutlinedObject {
  std::int32_t value = 0;
  std::int64_t area = 0;                                        // cells
  double x = 0, y = 0;                                          // the mean of its cells' middles
  std::vector<std::vector<std::array<std::int64_t, 2>>> rings;  // corners (x, y) along cells' edges, closed; the outer ring first, then holes
};

class Outliner {
 public:
  // `background` is no object's value.
  Outliner(std::int64_t width, std::int32_t background);
  // The next rows [count, width].
  void add(const std::int32_t* rows, std::int64_t count);
  // No more rows come: what is open is complete.
  void finish();
  // Objects that have become complete since the last call, in the order of their last row and then of their place in it.
  std::vector<OutlinedObject> take();

 private:
  struct Run {
    std::int64_t row, begin, end;
  };
  struct Open {
    std::int32_t value = 0;
    std::int64_t last = -1;  // row of its last run
    std::vector<Run> runs;
  };
  struct Current {
    std::int64_t begin, end;
    std::int32_t object;  // into open_
  };
  std::int32_t root(std::int32_t object);
  std::int32_t fresh(std::int32_t value);
  std::int32_t joined(std::int32_t a, std::int32_t b);
  void next_row(const std::int32_t* cells);
  void complete(std::int32_t object);

  std::int64_t width_, row_ = 0;
  std::int32_t background_;
  std::vector<Open> open_;
  std::vector<std::int32_t> parent_, free_, joined_;
  std::vector<Current> above_, current_;
  std::vector<OutlinedObject> done_;
};

}  // namespace sslmed::transforms
