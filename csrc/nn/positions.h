#pragma once
// Where tokens are, as an encoder sees it: a table over a grid, or Fourier features of places in space and time.

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/encoder.h"
#include "nn/layers.h"

namespace sslmed::nn {

enum class Positions {
  kLearned,      // a table, one row a grid cell (timm)
  kSinCos,       // the same table, fixed (MAE)
  kRope,         // queries and keys turned by angles of the cell along each axis (DINOv3); decoders use the fixed table
  kCoordinates,  // a linear map of Fourier features of (x, y, z, t), so that any set of places and any duration fits
};

// How patches of one kind are embedded.
struct EmbeddingConfig {
  std::string modality;
  std::vector<std::int64_t> patch_size;  // one entry an axis; {P} with kCoordinates: P samples of one channel
  std::vector<std::int64_t> img_size;    // unused with kCoordinates
  std::int64_t in_chans = 1;
  bool bias = true;  // of the linear map
  Positions positions = Positions::kLearned;
  double radius = 1;                          // mm: the extent of places in space (kCoordinates)
  std::int64_t extra_channels = 0;            // rows of the learned table for channels without a position (kCoordinates)
  std::vector<double> pixel_mean, pixel_std;  // one a channel: uint8 values v are seen as (v / 255 - mean) / std; none: as v / 255

  std::vector<std::int64_t> grid() const;
  EmbeddingKey key() const { return {modality, patch_size, in_chans}; }
  std::int64_t patch_values() const { return key().values(); }  // numbers in a patch, channels included
};

// A table [1, first + cells, D] over the cells of `grid` as one over those of `to`: bicubic and antialiased along each axis, as timm resamples position
// embeddings of images. The first rows (a class token's) stay. Differentiable.
at::Tensor resample_positions(const at::Tensor& table, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& to, std::int64_t first);

// Angles of packed tokens' cells for rotary positions, as DINOv3 has them (arXiv 2508.10104): each axis of a sequence's grid
// spans [-1, 1], and has head_dim / (2 · rank) frequencies base^(-i/n), base 100. ValueError unless 2 · rank divides head_dim.
Rotation rotation_of(const PatchTokens& tokens, const std::vector<std::int64_t>& grid, std::int64_t head_dim);
// Rows of several rotations one after the other, `prefix` rows that are not turned before each sequence.
Rotation with_prefix(const Rotation& rotation, const Rows& rows, std::int64_t prefix);

// Positions of tokens; the encoder and the decoders of methods each have one for every embedding.
class PositionEmbedding : public torch::nn::Module {
 public:
  PositionEmbedding(const EmbeddingConfig& config, std::int64_t dim, bool class_token);
  // [ΣN, D]. A sequence whose grid differs from the table's sees the table resampled to it.
  at::Tensor forward(const PatchTokens& tokens) const;
  at::Tensor class_row() const;  // [1, D]: what the class token gets; undefined without a table or class token

  // Registers itself with `owner` under timm's name "pos_embed": as a module, a parameter (`learned`) or a buffer.
  static std::shared_ptr<PositionEmbedding> create(torch::nn::Module& owner, const EmbeddingConfig& config, std::int64_t dim, bool class_token, bool learned);

 private:
  at::Tensor from_table(const PatchTokens& tokens) const;

  Positions kind_;
  double radius_;
  std::vector<std::int64_t> grid_;
  std::int64_t first_;  // row of the first cell in the table
  at::Tensor table_;    // [1, first + cells, D]; undefined with kCoordinates
  std::shared_ptr<Linear> proj_;
  at::Tensor channel_table_;  // [extra, D]
};

}  // namespace sslmed::nn
