#include "methods/inpainting.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace sslmed::methods {
namespace {

void check_bounds(const char* what, const std::vector<double>& bounds) {
  TORCH_CHECK_VALUE(bounds.size() == 2, "inpainting: ", what, " has ", bounds.size(), " numbers, expected a lower and an upper bound");
  TORCH_CHECK_VALUE(bounds[0] > 0 && bounds[0] <= bounds[1] && bounds[1] < 1, "inpainting: ", what, "=(", bounds[0], ", ", bounds[1],
                    ") must rise within (0, 1)");
}

// Marks a box of `mask` [spatial…] whose share of each axis is within the bounds.
void draw_box(const at::Tensor& mask, const std::vector<double>& bounds, Philox& random) {
  auto box = mask;
  for (std::int64_t a = 0; a < mask.dim(); ++a) {
    const auto extent = mask.size(a);
    const auto share = bounds[0] + (bounds[1] - bounds[0]) * random.uniform();
    const auto side = std::clamp<std::int64_t>(std::llround(share * static_cast<double>(extent)), 1, std::max<std::int64_t>(extent - 1, 1));
    box = box.narrow(a, random.below(static_cast<std::uint32_t>(extent - side + 1)), side);
  }
  box.fill_(true);
}

}  // namespace

at::Tensor filled(const DenseView& view, const at::Tensor& hidden, Fill fill) {
  const auto& values = view.values;
  if (fill == Fill::kZeros) return values.masked_fill(hidden, 0);
  std::vector<std::int64_t> axes(static_cast<std::size_t>(values.dim()) - 2);
  std::iota(axes.begin(), axes.end(), 2);
  const auto [var, mean] = at::var_mean(values, axes, /*unbiased=*/false, /*keepdim=*/true);
  return at::where(hidden, fill == Fill::kMean ? mean.expand_as(values) : mean + var.sqrt() * normal_like(values, view.draws), values);
}

Inpainting::Inpainting(std::shared_ptr<nn::Encoder> encoder, const InpaintingOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Reconstruction("inpainting", std::move(encoder), options.reconstruction, std::move(recipe)), options_(options) {
  TORCH_CHECK_VALUE(options.boxes > 0, "inpainting: boxes=", options.boxes, " must be at least 1");
  TORCH_CHECK_VALUE(options.p_outer >= 0 && options.p_outer <= 1, "inpainting: p_outer=", options.p_outer, " must be within [0, 1]");
  check_bounds("size", options.size);
  check_bounds("outer_size", options.outer_size);
}

Exercise Inpainting::pose(const DenseView& view) const {
  check(view);
  auto shape = view.values.sizes().vec();
  shape[1] = 1;
  auto hidden = at::zeros(shape, at::kBool);
  for (std::int64_t b = 0; b < view.size(); ++b) {
    Philox random(view.draws[static_cast<std::size_t>(b)], Stream::kPretext);
    const bool outer = random.uniform() < options_.p_outer;
    const auto mask = hidden[b][0];
    for (std::int64_t box = 0; box < options_.boxes; ++box) draw_box(mask, outer ? options_.outer_size : options_.size, random);
    if (!outer) continue;
    // Something stays to be restored where the boxes cover all.
    if (mask.all().item<bool>()) mask.flatten()[0].fill_(false);
    mask.logical_not_();
  }
  hidden = hidden.to(view.values.device());
  return {filled(view, hidden, options_.fill), hidden};
}

CrossSequence::CrossSequence(std::shared_ptr<nn::Encoder> encoder, const CrossSequenceOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Reconstruction("cross_sequence", std::move(encoder), options.reconstruction, std::move(recipe)), options_(options) {
  const auto channels = map_shape().in_chans;
  TORCH_CHECK_VALUE(channels >= 2, "cross_sequence: needs samples of at least 2 channels, the encoder takes ", channels);
  TORCH_CHECK_VALUE(options.hidden > 0 && options.hidden < channels, "cross_sequence: hidden=", options.hidden, " must be within 1 and ", channels - 1,
                    ", one less than the channels");
}

Exercise CrossSequence::pose(const DenseView& view) const {
  check(view);
  const auto channels = view.values.size(1);
  std::vector<std::int64_t> shape(static_cast<std::size_t>(view.values.dim()), 1);
  shape[0] = view.size(), shape[1] = channels;
  auto hidden = at::zeros({view.size(), channels}, at::kBool);
  for (std::int64_t b = 0; b < view.size(); ++b) {
    Philox random(view.draws[static_cast<std::size_t>(b)], Stream::kPretext);
    std::vector<std::int64_t> order(static_cast<std::size_t>(channels));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = 0; i < static_cast<std::size_t>(options_.hidden); ++i) {
      std::swap(order[i], order[i + random.below(static_cast<std::uint32_t>(order.size() - i))]);
      hidden[b][order[i]].fill_(true);
    }
  }
  hidden = hidden.view(shape).to(view.values.device());
  return {filled(view, hidden, options_.fill), hidden};
}

}  // namespace sslmed::methods
