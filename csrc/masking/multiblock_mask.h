#pragma once
// Four target blocks and a context block without them on a grid of tokens (Assran et al., I-JEPA, arXiv 2301.08243).

#include <cstdint>

#include "masking/mask.h"

namespace sslmed::masking {

enum class Placement {
  kExact,     // the published distribution: blocks never touch the last row and column
  kUnbiased,  // every place on the grid
};

struct MultiblockOptions {
  double target_scale[2] = {0.15, 0.2}, target_aspect[2] = {0.75, 1.5}, context_scale[2] = {0.85, 1.0};
  std::int64_t targets = 4;
  std::int64_t min_context = 10;  // a context has more cells than this; on grids of less than 80 cells, than an eighth of them
};

// The masks of one batch: all of them have blocks of the same two sizes.
class MultiblockMask {
 public:
  // `batch` names the draw of the sizes. ValueError for a grid too small to hold the blocks.
  MultiblockMask(std::int64_t rows, std::int64_t columns, Placement placement, const Draw& batch, const MultiblockOptions& options = {});

  std::int64_t targets() const noexcept { return options_.targets; }
  std::int64_t target_size() const noexcept { return target_.rows * target_.columns; }
  std::int64_t cells() const noexcept { return rows_ * columns_; }
  // One mask: row-major cell numbers, targets() blocks of target_size() one after the other, and the context, which has no cell of
  // any target. Gives the context's size; `context_out` needs room for cells() + 1. ValueError where no context is left in many tries.
  std::int64_t draw(const Draw& draw, std::int64_t* targets_out, std::int64_t* context_out) const;
  // The same as rows of tokens: the context to keep, the targets block after block.
  Mask draw(const Draw& draw) const;

 private:
  struct Extent {
    std::int64_t rows = 0, columns = 0;
  };
  Extent extent(const double scale[2], const double aspect[2], double random) const;
  std::int64_t place(std::int64_t extent, std::int64_t block, Philox& random) const;

  std::int64_t rows_, columns_, min_context_;
  Placement placement_;
  MultiblockOptions options_;
  Extent target_, context_;
};

}  // namespace sslmed::masking
