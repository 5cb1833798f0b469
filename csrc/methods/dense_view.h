#pragma once
// Views as dense arrays, and the maps that an encoder makes of them: what pretext tasks ask of any encoder.

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "data/batch.h"
#include "nn/encoder.h"

namespace sslmed::methods {

struct DenseView {
  at::Tensor values;        // [B, C, spatial…] of the weights' type, bytes standardized as the encoder does it
  std::vector<Draw> draws;  // [B] name what is random of each sample at this step

  std::int64_t size() const { return values.size(0); }
  std::vector<std::int64_t> sizes() const { return values.sizes().slice(2).vec(); }  // along each axis
};

// What an encoder's maps are like.
struct MapShape {
  std::int64_t rank = 2, in_chans = 1;
  std::vector<std::int64_t> widths, strides;  // of each map, fine to coarse; input cells along the longest axis of a cell
  std::vector<std::int64_t> cell;             // input cells to a cell of the last map, along each axis
};

// A batch's view, dense already or patches that fill their grids. `seed` and `step` name what is random.
DenseView dense_view(const data::Batch& batch, const data::ViewBatch& view, const nn::Encoder& encoder, std::uint64_t seed, std::int64_t step, const char* who);
// [B, C, spatial…] as the encoder sees it.
at::Tensor standardized(const at::Tensor& dense, const nn::Encoder& encoder);
// ValueError for an encoder that does not say (one written in Python).
MapShape map_shape(const nn::Encoder& encoder, const char* who);
// Cells along each axis of which an input must have a multiple: a patch of a vision transformer, otherwise 1.
std::vector<std::int64_t> input_multiple(const nn::Encoder& encoder, std::int64_t rank);
// The maps of an encoder's features, fine to coarse; the tokens of a vision transformer are one map.
std::vector<at::Tensor> maps_of(const nn::Features& features, const at::Tensor& input, const MapShape& shape);

// Patches [B, N, P] in (p…, c) order on a grid of `grid` cells, row-major, to dense [B, C, spatial…]: the inverse of nn::patchify.
at::Tensor unpatchify(const at::Tensor& patches, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& patch_size);

// Normal numbers by the draw of each sample, [B, …] as `like`.
at::Tensor normal_like(const at::Tensor& like, const std::vector<Draw>& draws);

}  // namespace sslmed::methods
