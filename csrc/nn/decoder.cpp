#include "nn/decoder.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kLeastWidth = 16;

}  // namespace

GroupNorm::GroupNorm(std::int64_t width) : groups_(width % 8 == 0 ? 8 : 1) {
  weight = register_parameter("weight", at::ones({width}));
  bias = register_parameter("bias", at::zeros({width}));
}

ConvDecoder::ConvDecoder(const std::vector<std::int64_t>& widths, std::int64_t rank, std::int64_t out_channels, bool skips, std::int64_t stride)
    : maps_(widths.size()), skips_(skips) {
  TORCH_CHECK_VALUE(!widths.empty(), "a decoder needs the width of one map at least");
  TORCH_CHECK_VALUE(out_channels > 0, "a decoder's out_channels=", out_channels, " must be at least 1");
  TORCH_CHECK_VALUE(stride > 0, "a decoder's stride=", stride, " must be at least 1");
  const auto convs = register_module("convs", std::make_shared<torch::nn::Module>());
  const auto norms = register_module("norms", std::make_shared<torch::nn::Module>());
  const auto add = [&](std::int64_t in, std::int64_t out) {
    const auto number = std::to_string(convs_.size());
    convs_.push_back(convs->register_module(number, std::make_shared<Conv>(in, out, rank, /*kernel=*/3)));
    norms_.push_back(norms->register_module(number, std::make_shared<GroupNorm>(out)));
  };
  auto width = widths.back();
  for (std::size_t i = widths.size() - 1; i > 0; --i) {
    add(width, widths[i - 1]);
    width = widths[i - 1] * (skips ? 2 : 1);
  }
  // One stage for each doubling.
  for (std::int64_t reached = 1, out = widths.front() / 2; reached < stride; reached *= 2, out /= 2) {
    add(width, std::max(out, kLeastWidth));
    width = std::max(out, kLeastWidth);
  }
  out_ = register_module("out", std::make_shared<Conv>(width, out_channels, rank, /*kernel=*/3, /*stride=*/1, /*bias=*/true));
}

at::Tensor ConvDecoder::forward(const std::vector<at::Tensor>& pyramid, const std::vector<std::int64_t>& sizes, const Rows& rows) const {
  TORCH_CHECK_VALUE(pyramid.size() == maps_, "the decoder takes ", maps_, " maps, got ", pyramid.size());
  auto x = pyramid.back();
  for (std::size_t stage = 0; stage < convs_.size(); ++stage) {
    x = at::relu(norms_[stage]->forward(convs_[stage]->forward(x, rows), rows));
    if (stage + 1 < maps_) {
      const auto& finer = pyramid[maps_ - 2 - stage];
      x = enlarge(x, finer.sizes().slice(2).vec());
      if (skips_) x = at::cat({x, finer}, 1);
      continue;
    }
    std::vector<std::int64_t> next;
    const auto left = static_cast<std::int64_t>(convs_.size() - 1 - stage);  // doublings after this one
    for (std::size_t axis = 0; axis < sizes.size(); ++axis)
      next.push_back(std::max(x.size(static_cast<std::int64_t>(axis) + 2), (sizes[axis] + (std::int64_t{1} << left) - 1) >> left));
    x = enlarge(x, next);
  }
  return out_->forward(enlarge(x, sizes), rows);
}

at::Tensor enlarge(const at::Tensor& x, const std::vector<std::int64_t>& sizes) {
  if (x.sizes().slice(2) == at::IntArrayRef(sizes)) return x;
  switch (x.dim()) {
    case 3:
      return at::upsample_nearest1d(x, at::IntArrayRef(sizes));
    case 4:
      return at::upsample_nearest2d(x, at::IntArrayRef(sizes));
    case 5:
      return at::upsample_nearest3d(x, at::IntArrayRef(sizes));
    default:
      TORCH_CHECK_VALUE(false, "enlarge: expected [B, C, 1 to 3 spatial axes], got ", x.sizes());
  }
}

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

}  // namespace sslmed::nn
