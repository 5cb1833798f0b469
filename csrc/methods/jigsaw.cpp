#include "methods/jigsaw.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <numeric>
#include <utility>

#include "masking/permutations.h"

namespace sslmed::methods {
namespace {

// Each channel of [n, C, spatial…] by its own mean and deviation; flat ones become 0.
at::Tensor normalized_tiles(const at::Tensor& tiles) {
  std::vector<std::int64_t> axes(static_cast<std::size_t>(tiles.dim()) - 2);
  std::iota(axes.begin(), axes.end(), 2);
  const auto [var, mean] = at::var_mean(tiles, axes, /*unbiased=*/false, /*keepdim=*/true);
  return (tiles - mean) * (var + 1e-5).rsqrt();
}

std::int64_t count_tiles(const std::vector<std::int64_t>& grid) {
  std::int64_t tiles = 1;
  for (const auto extent : grid) tiles *= extent;
  return tiles;
}

}  // namespace

Jigsaw::Jigsaw(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const JigsawOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Pretext("jigsaw", std::move(encoder), std::move(recipe), options.seed), options_(options), grid_(for_each_axis(options.grid, rank, "jigsaw", "grid")) {
  TORCH_CHECK_VALUE(options.gap >= 0 && options.gap < 1, "jigsaw: gap=", options.gap, " must be within [0, 1)");
  TORCH_CHECK_VALUE(options.tile_dim > 0, "jigsaw: tile_dim=", options.tile_dim, " must be at least 1");
  TORCH_CHECK_VALUE(options.hidden > 0, "jigsaw: hidden=", options.hidden, " must be at least 1");
  const auto tiles = count_tiles(grid_);
  TORCH_CHECK_VALUE(tiles >= 2 && tiles <= 255, "jigsaw: grid=", at::IntArrayRef(options.grid), " gives ", tiles, " tiles, expected 2 to 255");
  permutations_ = masking::distant_permutations(static_cast<std::int32_t>(tiles), options.permutations, options.seed);
  tile_ = register_module("tile", std::make_shared<nn::Linear>(encoder_->shape().dim, options.tile_dim));
  head_ = register_module("head", std::make_shared<nn::MlpHead>(nn::MlpHeadConfig{
                                      .in = tiles * options.tile_dim,
                                      .hidden = options.hidden,
                                      .out = options.permutations,
                                      .norm = false,
                                  }));
  nn::initialise(*tile_, options.seed + 1);
  nn::initialise(*head_, options.seed + 2);
}

Exercise Jigsaw::pose(const DenseView& view) const {
  const auto sizes = view.sizes();
  TORCH_CHECK_VALUE(sizes.size() == grid_.size(), "jigsaw: the views have ", sizes.size(), " axes, expected ", grid_.size());
  const auto rank = grid_.size();
  const auto multiple = input_multiple(*encoder_, static_cast<std::int64_t>(rank));
  std::vector<std::int64_t> cell(rank), tile(rank);
  for (std::size_t a = 0; a < rank; ++a) {
    cell[a] = sizes[a] / grid_[a];
    tile[a] = static_cast<std::int64_t>(static_cast<double>(cell[a]) * (1 - options_.gap) + 1e-9) / multiple[a] * multiple[a];
    TORCH_CHECK_VALUE(tile[a] > 0, "jigsaw: axis ", a, " of the views has ", sizes[a], " cells, too few for grid=", grid_[a], " tiles with gap=", options_.gap,
                      " of an encoder that needs multiples of ", multiple[a]);
  }
  const auto tiles = static_cast<std::size_t>(count_tiles(grid_));
  std::vector<at::Tensor> shown;
  std::vector<std::int64_t> classes;
  for (std::int64_t b = 0; b < view.size(); ++b) {
    Philox random(view.draws[static_cast<std::size_t>(b)], Stream::kPretext, /*many=*/true);
    classes.push_back(random.below(static_cast<std::uint32_t>(permutations_.size())));
    std::vector<at::Tensor> cut;
    for (std::size_t number = 0; number < tiles; ++number) {
      auto part = view.values[b];
      auto place = static_cast<std::int64_t>(number);
      for (std::size_t a = rank; a-- > 0; place /= grid_[a]) {
        const auto room = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(cell[a] - tile[a] + 1)));
        part = part.narrow(static_cast<std::int64_t>(a) + 1, place % grid_[a] * cell[a] + room, tile[a]);
      }
      cut.push_back(part);
    }
    for (const auto number : permutations_[static_cast<std::size_t>(classes.back())]) shown.push_back(cut[static_cast<std::size_t>(number)]);
  }
  const auto stacked = at::stack(shown);
  return {options_.norm_tiles ? normalized_tiles(stacked) : stacked, at::tensor(classes, at::kLong).to(view.values.device())};
}

Attempt Jigsaw::attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const {
  const auto summary = encode(exercise, view, context).summary();  // [B · tiles, D]
  const auto seen = at::relu(tile_->forward(summary, nn::Rows::single(summary.size(0))));
  const auto scores = head_->forward(seen.reshape({view.size(), -1}));
  Attempt out;
  out.total = at::cross_entropy_loss(scores, exercise.answer);
  out.weight = static_cast<double>(view.size());
  out.features = summary.detach().view({view.size(), -1, summary.size(1)}).mean(1);
  out.parts.emplace_back("accuracy", accuracy(scores, exercise.answer));
  return out;
}

}  // namespace sslmed::methods
