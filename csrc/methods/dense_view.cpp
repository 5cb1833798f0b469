#include "methods/dense_view.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "nn/dense_encoder.h"
#include "nn/vit.h"

namespace sslmed::methods {
namespace {

// Cells of the grid that every sequence fills.
std::vector<std::int64_t> whole_grid(const data::PackedPatches& patches, const char* who) {
  TORCH_CHECK_VALUE(patches.extents.defined() && patches.extents.size(0) > 0 && !patches.key.patch.empty(), who,
                    ": needs dense views, or patches that fill a regular grid, got ", patches.key.text(), " without a grid");
  const auto extents = patches.extents.to(at::kLong);
  std::vector<std::int64_t> grid;
  for (std::int64_t a = 0; a < extents.size(1); ++a) grid.push_back(extents[0][a].item<std::int64_t>());
  TORCH_CHECK_VALUE(extents.eq(extents[0]).all().item<bool>(), who, ": the grids of patches must be equal in all samples");
  TORCH_CHECK_VALUE(grid.size() == patches.key.patch.size(), who, ": needs dense views, got patches of ", patches.key.patch.size(), " axes on a grid of ",
                    grid.size(), " (of signals: segments of channels); give a convolutional encoder, or a preprocessing with patch=None");
  std::int64_t cells = 1;
  for (const auto extent : grid) cells *= extent;
  for (const auto length : patches.lengths)
    TORCH_CHECK_VALUE(length == cells, who, ": needs dense views, or patches that fill a regular grid, got ", length, " patches of a grid of ", cells);
  return grid;
}

}  // namespace

at::Tensor unpatchify(const at::Tensor& patches, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& patch_size) {
  const auto product = [](const std::vector<std::int64_t>& all) { return std::accumulate(all.begin(), all.end(), std::int64_t{1}, std::multiplies<>()); };
  const auto rank = static_cast<std::int64_t>(grid.size());
  const auto cells = product(patch_size);
  TORCH_CHECK_VALUE(patch_size.size() == grid.size(), "unpatchify: the grid has ", rank, " axes, the patches have ", patch_size.size());
  TORCH_CHECK_VALUE(patches.dim() == 3 && patches.size(1) == product(grid) && patches.size(2) % cells == 0, "unpatchify: expected patches [B, ", product(grid),
                    ", a multiple of ", cells, "], got ", patches.sizes());
  const auto channels = patches.size(2) / cells;
  std::vector<std::int64_t> split{patches.size(0)}, order{0, 1 + 2 * rank}, shape{patches.size(0), channels};
  split.insert(split.end(), grid.begin(), grid.end());
  split.insert(split.end(), patch_size.begin(), patch_size.end());
  split.push_back(channels);
  for (std::int64_t a = 0; a < rank; ++a) {
    order.insert(order.end(), {1 + a, 1 + rank + a});
    shape.push_back(grid[static_cast<std::size_t>(a)] * patch_size[static_cast<std::size_t>(a)]);
  }
  return patches.reshape(split).permute(order).reshape(shape);
}

at::Tensor standardized(const at::Tensor& dense, const nn::Encoder& encoder) {
  if (const auto* known = dynamic_cast<const nn::DenseEncoder*>(&encoder)) return known->standardized(dense);
  const auto type = encoder.parameters().front().scalar_type();
  if (dense.scalar_type() != at::kByte) return dense.to(type);
  const auto* vit = dynamic_cast<const nn::VisionTransformer*>(&encoder);
  TORCH_CHECK_VALUE(vit != nullptr,
                    "the views are bytes, which an encoder written in Python takes as they are; a pretext task needs floating-point views there");
  return vit->standardized_dense(dense);
}

DenseView dense_view(const data::Batch& batch, const data::ViewBatch& view, const nn::Encoder& encoder, std::uint64_t seed, std::int64_t step,
                     const char* who) {
  DenseView out;
  if (const auto* patches = std::get_if<data::PackedPatches>(&view.content)) {
    const auto grid = whole_grid(*patches, who);
    const auto count = static_cast<std::int64_t>(patches->lengths.size());
    out.values = unpatchify(patches->values.view({count, -1, patches->values.size(1)}), grid, patches->key.patch);
  } else {
    out.values = std::get<data::StackedDense>(view.content).values;
  }
  out.values = standardized(out.values, encoder);
  for (const auto slot : view.slots) {
    // Views of one sample have numbers of their own.
    const auto epoch = static_cast<std::uint64_t>(step) + (static_cast<std::uint64_t>(view.number) << 48);
    out.draws.push_back({seed, epoch, static_cast<std::uint64_t>(batch.sample_ids[static_cast<std::size_t>(slot)]), batch.number});
  }
  return out;
}

MapShape map_shape(const nn::Encoder& encoder, const char* who) {
  MapShape out;
  if (const auto* dense = dynamic_cast<const nn::DenseEncoder*>(&encoder)) {
    out.rank = dense->dense_shape().rank, out.in_chans = dense->dense_shape().in_chans;
    out.widths = dense->widths();
    out.strides = dense->strides();
    out.cell.assign(static_cast<std::size_t>(out.rank), out.strides.back());
  } else if (const auto* vit = dynamic_cast<const nn::VisionTransformer*>(&encoder)) {
    const auto& embedding = vit->config().embedding;
    out.rank = static_cast<std::int64_t>(embedding.patch_size.size()), out.in_chans = embedding.in_chans;
    out.widths = {vit->config().dim};
    out.cell = embedding.patch_size;
    out.strides = {*std::max_element(out.cell.begin(), out.cell.end())};
  } else {
    TORCH_CHECK_VALUE(false, who, ": the encoder does not say what maps it makes; it must be a DenseEncoder, a ConvEncoder or an Encoder");
  }
  return out;
}

std::vector<std::int64_t> input_multiple(const nn::Encoder& encoder, std::int64_t rank) {
  const auto* vit = dynamic_cast<const nn::VisionTransformer*>(&encoder);
  const std::vector<std::int64_t> ones(static_cast<std::size_t>(rank), 1);
  return vit != nullptr && vit->config().embedding.patch_size.size() == ones.size() ? vit->config().embedding.patch_size : ones;
}

std::vector<at::Tensor> maps_of(const nn::Features& features, const at::Tensor& input, const MapShape& shape) {
  if (!features.pyramid.empty()) return features.pyramid;
  std::vector<std::int64_t> sizes{input.size(0), shape.widths.back()};
  for (std::size_t a = 0; a < shape.cell.size(); ++a) sizes.push_back(input.size(static_cast<std::int64_t>(a) + 2) / shape.cell[a]);
  return {features.patches().view({input.size(0), -1, shape.widths.back()}).transpose(1, 2).reshape(sizes)};
}

at::Tensor normal_like(const at::Tensor& like, const std::vector<Draw>& draws) {
  const auto each = draws.empty() ? 0 : like.numel() / static_cast<std::int64_t>(draws.size());
  const auto out = at::empty(like.sizes(), at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  at::parallel_for(0, static_cast<std::int64_t>(draws.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto b = begin; b < end; ++b) {
      Philox random(draws[static_cast<std::size_t>(b)], Stream::kNoise, /*many=*/true);
      for (std::int64_t i = 0; i < each; ++i) values[b * each + i] = static_cast<float>(random.normal());
    }
  });
  return out.to(like.options());
}

}  // namespace sslmed::methods
