#pragma once
// Predictions of overlapping tiles of a large map, blended into bands of finished rows: of all classes no more is held than what a row of tiles leaves to
// the next one.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/sliding_window.h"

namespace sslmed::nn {

// What a band holds beside the class of each cell.
enum class BandExtra {
  kNone,
  kProbabilities,  // softmax of the blended predictions
  kUncertainty,    // its entropy, as a share of the largest possible one
};

struct BandBlendOptions {
  std::int64_t height = 0, width = 0;  // cells of the map
  std::int64_t tile = 0;               // cells of a tile's sides
  std::vector<std::int64_t> rows;      // first cell of each row of tiles, ascending from 0
  WindowWeights weights = WindowWeights::kGaussian;
  WindowConvention convention = WindowConvention::kMonai;
  BandExtra extra = BandExtra::kNone;
  std::int64_t outside = 0;  // the class of cells that no tile covers
};

struct Band {
  std::int64_t row = 0;  // of the map
  at::Tensor classes;    // [rows, width] uint8
  at::Tensor extra;      // probabilities [K, rows, width] or uncertainty [1, rows, width], uint8 of 255 times the value; or undefined
};

class BandBlend {
 public:
  explicit BandBlend(BandBlendOptions options);

  // prediction [n, K, tile, tile]; tile i lies in row rows[i] of tiles, at the cell left[i] of the map. Tiles come row by row, and from left to right.
  void add(const at::Tensor& prediction, const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& left);
  // No more tiles come. `classes`: K, where no tile came at all.
  void finish(std::int64_t classes = 2);
  std::vector<Band> take();

 private:
  struct Block {
    at::Tensor sums;   // [K + 1, tile, columns], the last one of weights; while tiles are added
    at::Tensor carry;  // [K + 1, rows, columns]: what the row of tiles before has left
  };
  void add_tile(const at::Tensor& prediction, std::int64_t left);
  void start(std::int64_t classes, const at::TensorOptions& options);
  at::Tensor& active(std::size_t block);
  void retire(std::size_t until);  // blocks before this one get no more tiles of the row
  void open_band(std::int64_t rows);
  void store(const at::Tensor& sums, std::int64_t first_column, std::int64_t rows);
  void advance(std::int64_t row);
  std::int64_t end_of(std::int64_t row) const;
  std::int64_t columns_of(std::size_t block) const;

  BandBlendOptions options_;
  at::Tensor weights_;
  std::int64_t classes_ = 0, row_ = 0, padded_width_, padded_height_;
  std::size_t retired_ = 0;
  std::vector<Block> blocks_;
  Band band_;
  std::vector<Band> done_;
};

}  // namespace sslmed::nn
