#include "methods/rotation.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "nn/layers.h"

namespace sslmed::methods {

std::int64_t turns_of_rank(std::int64_t rank) {
  TORCH_CHECK_VALUE(rank >= 1 && rank <= 3, "rotation: rank=", rank, " must be 1, 2 or 3");
  constexpr std::int64_t kTurns[] = {2, 4, 10};
  return kTurns[rank - 1];
}

at::Tensor turned(const at::Tensor& x, std::int64_t turn) {
  if (turn == 0) return x;
  if (x.dim() == 2) return x.flip(1);
  if (x.dim() == 3) return at::rot90(x, turn, {1, 2});
  const auto about = (turn - 1) / 3;
  return at::rot90(x, (turn - 1) % 3 + 1, {about == 0 ? 2 : 1, about == 2 ? 2 : 3});
}

Rotation::Rotation(std::shared_ptr<nn::Encoder> encoder, std::int64_t rank, const RotationOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Pretext("rotation", std::move(encoder), std::move(recipe), options.seed), options_(options), rank_(rank) {
  head_ = register_module("head", std::make_shared<nn::Linear>(encoder_->shape().dim, turns_of_rank(rank)));
  nn::initialise(*head_, options.seed + 1);
}

Exercise Rotation::pose(const DenseView& view) const {
  const auto sizes = view.sizes();
  TORCH_CHECK_VALUE(static_cast<std::int64_t>(sizes.size()) == rank_, "rotation: the views have ", sizes.size(), " axes, expected ", rank_);
  std::int64_t multiple = 1;  // of patches along all axes, which are turned into each other
  for (const auto patch : input_multiple(*encoder_, rank_)) multiple = std::lcm(multiple, patch);
  const auto side = *std::min_element(sizes.begin(), sizes.end()) / multiple * multiple;
  TORCH_CHECK_VALUE(side > 0, "rotation: views of ", at::IntArrayRef(sizes), " cells hold no middle with equal sides, which must be multiples of ", multiple);
  auto middle = view.values;
  for (std::int64_t a = 0; a < rank_; ++a) middle = middle.narrow(a + 2, (middle.size(a + 2) - side) / 2, side);
  const auto turns = turns_of_rank(rank_);
  std::vector<at::Tensor> shown;
  std::vector<std::int64_t> classes;
  for (std::int64_t b = 0; b < view.size(); ++b) {
    const auto drawn = Philox(view.draws[static_cast<std::size_t>(b)], Stream::kPretext).below(static_cast<std::uint32_t>(turns));
    for (std::int64_t turn = 0; turn < turns; ++turn) {
      if (!options_.all_turns && turn != drawn) continue;
      shown.push_back(turned(middle[b], turn));
      classes.push_back(turn);
    }
  }
  return {at::stack(shown), at::tensor(classes, at::kLong).to(view.values.device())};
}

Attempt Rotation::attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const {
  const auto summary = encode(exercise, view, context).summary();
  const auto scores = head_->forward(summary, nn::Rows::single(summary.size(0)));
  Attempt out;
  out.total = at::cross_entropy_loss(scores, exercise.answer);
  out.weight = static_cast<double>(summary.size(0));
  out.features = summary.detach().view({view.size(), -1, summary.size(1)}).mean(1);
  out.parts.emplace_back("accuracy", accuracy(scores, exercise.answer));
  return out;
}

}  // namespace sslmed::methods
