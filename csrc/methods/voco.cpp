#include "methods/voco.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "methods/loss_rows.h"

namespace sslmed::methods {
namespace {

struct Places {
  std::vector<std::int64_t> sizes;                 // of every crop
  std::vector<std::vector<std::int64_t>> corners;  // of each
};

Places base_crops(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& multiple) {
  Places out;
  std::int64_t count = 1;
  for (std::size_t a = 0; a < grid.size(); ++a) {
    out.sizes.push_back(sizes[a] / grid[a] / multiple[a] * multiple[a]);
    TORCH_CHECK_VALUE(out.sizes[a] > 0, "voco: axis ", a, " of the views has ", sizes[a], " cells, too few for grid=", grid[a],
                      " crops of an encoder that needs multiples of ", multiple[a]);
    count *= grid[a];
  }
  for (std::int64_t number = 0; number < count; ++number) {
    auto& corner = out.corners.emplace_back(grid.size());
    auto place = number;
    for (std::size_t a = grid.size(); a-- > 0; place /= grid[a]) corner[a] = place % grid[a] * (sizes[a] / grid[a]);
  }
  return out;
}

at::Tensor cut_crop(const at::Tensor& sample, const std::vector<std::int64_t>& corner, const std::vector<std::int64_t>& sizes) {
  auto part = sample;
  for (std::size_t a = 0; a < corner.size(); ++a) part = part.narrow(static_cast<std::int64_t>(a) + 1, corner[a], sizes[a]);
  return part;
}

// Share of a crop's cells that lie in another of the same size.
double shared(const std::vector<std::int64_t>& one, const std::vector<std::int64_t>& other, const std::vector<std::int64_t>& sizes) {
  double share = 1;
  for (std::size_t a = 0; a < sizes.size(); ++a)
    share *= static_cast<double>(std::max<std::int64_t>(sizes[a] - std::abs(one[a] - other[a]), 0)) / static_cast<double>(sizes[a]);
  return share;
}

}  // namespace

at::Tensor overlap_loss(const at::Tensor& similarity, const at::Tensor& overlap) {
  constexpr double kFloor = 1e-6;
  const auto near = (overlap * -(1 - (overlap - similarity).abs() + kFloor).log()).sum({1, 2}) / (overlap.sum({1, 2}) + kFloor);
  const auto apart = overlap.eq(0).to(similarity.scalar_type());
  return near + (similarity.square() * apart).sum({1, 2}) / (apart.sum({1, 2}) + kFloor);
}

VoCo::VoCo(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const VoCoOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Pretext("voco", std::move(encoder), std::move(recipe), options.seed), options_(options), grid_(for_each_axis(options.grid, rank, "voco", "grid")) {
  std::int64_t bases = 1;
  for (const auto extent : grid_) bases *= extent;
  TORCH_CHECK_VALUE(bases >= 2, "voco: grid=", at::IntArrayRef(options.grid), " gives ", bases, " base crop, expected at least 2");
  TORCH_CHECK_VALUE(options.crops > 0, "voco: crops=", options.crops, " must be at least 1");
  TORCH_CHECK_VALUE(options.regularization >= 0, "voco: regularization=", options.regularization, " must not be negative");
  const auto dim = encoder_->shape().dim;
  projector_ = register_module("projector", std::make_shared<nn::MlpHead>(nn::MlpHeadConfig{
                                                .in = dim,
                                                .hidden = options.hidden > 0 ? options.hidden : dim,
                                                .out = options.out,
                                                .norm = false,
                                            }));
  nn::initialise(*projector_, options.seed + 1);
}

Exercise VoCo::pose(const DenseView& view) const {
  const auto sizes = view.sizes();
  TORCH_CHECK_VALUE(sizes.size() == grid_.size(), "voco: the views have ", sizes.size(), " axes, expected ", grid_.size());
  const auto bases = base_crops(sizes, grid_, input_multiple(*encoder_, static_cast<std::int64_t>(sizes.size())));
  std::vector<at::Tensor> shown;
  std::vector<double> overlaps;
  for (std::int64_t b = 0; b < view.size(); ++b) {
    Philox random(view.draws[static_cast<std::size_t>(b)], Stream::kPretext);
    for (const auto& corner : bases.corners) shown.push_back(cut_crop(view.values[b], corner, bases.sizes));
    for (std::int64_t crop = 0; crop < options_.crops; ++crop) {
      std::vector<std::int64_t> corner;
      for (std::size_t a = 0; a < sizes.size(); ++a) corner.push_back(random.below(static_cast<std::uint32_t>(sizes[a] - bases.sizes[a] + 1)));
      shown.push_back(cut_crop(view.values[b], corner, bases.sizes));
      for (const auto& base : bases.corners) overlaps.push_back(shared(corner, base, bases.sizes));
    }
  }
  const auto answer = at::tensor(overlaps, at::kDouble).view({view.size(), options_.crops, -1});
  return {at::stack(shown), answer.to(view.values.options())};
}

Attempt VoCo::attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const {
  const auto summary = encode(exercise, view, context).summary();
  const auto seen = at_least_float(projector_->forward(summary));
  const FullPrecision guard;  // a rounded cosine may be above 1, which has no logarithm in overlap_loss()
  const auto unit = (seen / at::linalg_vector_norm(seen, 2, {1}, /*keepdim=*/true).clamp_min(1e-8)).view({view.size(), -1, seen.size(1)});
  const auto count = unit.size(1) - options_.crops;
  const auto bases = unit.narrow(1, 0, count), crops = unit.narrow(1, count, options_.crops);
  const auto similarity = at::relu(at::bmm(crops, (options_.stop_bases ? bases.detach() : bases).transpose(1, 2))).clamp_max(1);
  const auto overlap = overlap_loss(similarity, exercise.answer).mean();
  // Each pair once.
  const auto pairs = at::relu(at::bmm(bases, bases.transpose(1, 2))).square().triu(1).sum({1, 2}) * (2.0 / static_cast<double>(count * (count - 1)));
  const auto alike = pairs.mean();
  Attempt out;
  out.total = overlap + alike * options_.regularization;
  out.weight = static_cast<double>(view.size());
  out.features = summary.detach().view({view.size(), -1, summary.size(1)}).mean(1);
  out.parts.emplace_back("overlap", overlap.detach());
  out.parts.emplace_back("bases", alike.detach());
  return out;
}

}  // namespace sslmed::methods
