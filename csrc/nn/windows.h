#pragma once
// Windows over a grid of tokens, and how rows move into them and back.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sslmed::nn {

using Grid = std::vector<std::int64_t>;  // cells along each axis

std::int64_t cells_of(const Grid& grid);

// Rows of x [B, R, C] by `index` [S], -1 for a row of zeros → [B, S, C]. `inverse` [R] says where each row of x went,
// or -1: no row may be taken twice. The gradient is the same copy the other way round.
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& inverse);

// Which axis comes first where a grid that windows do not divide is both rolled and padded.
enum class WindowPadding { kRollFirst, kPadFirst };

// Windows of a grid that is rolled by -shift and padded with zeros at its end.
struct Windows {
  Windows(const Grid& grid, const Grid& window, const Grid& shift, WindowPadding padding);
  Grid window;              // cells of a window along each axis
  std::int64_t count = 1;   // of windows
  at::Tensor slots, cells;  // int64 [count · cells of a window] and [cells of the grid]: the two indices of gather_rows
  at::Tensor regions;       // int64 [count, cells of a window]: cells of different ones do not attend to each other; undefined without a shift
};

// Rows of a table of relative positions for every pair of cells of `window`, [N, N] int64. The table has (2·full - 1)
// rows along each axis, the last axis fastest. `first_rows`: take the first N rows and columns of the index of the full
// window, whatever the shape of `window` (MONAI's way).
at::Tensor relative_index(const Grid& window, const Grid& full, bool first_rows);

// The order in which the 2^rank neighbours of a merged cell are joined.
enum class Merging {
  kTimm,         // the first axis fastest
  kMonai,        // 000 100 010 001 110 101 011 111 in three axes; timm's in two
  kMonaiLegacy,  // MONAI's before 1.0: 000 100 010 001 101 010 001 111, two of them twice and two never; timm's in two axes
  kMergingV2     // the last axis fastest in three axes; timm's in two
};

// Neighbours side by side: [B, cells, C] to [B, cells of the halved grid, 2^rank · C]. Odd extents are padded with
// zeros; `grid` becomes the halved one.
at::Tensor merge_neighbors(const at::Tensor& x, Grid& grid, Merging order);

}  // namespace sslmed::nn
