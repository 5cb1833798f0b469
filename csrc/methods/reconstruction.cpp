#include "methods/reconstruction.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

namespace sslmed::methods {

Reconstruction::Reconstruction(std::string name, std::shared_ptr<nn::Encoder> encoder, const ReconstructionOptions& options,
                               std::shared_ptr<const data::Recipe> recipe)
    : Pretext(std::move(name), std::move(encoder), std::move(recipe), options.seed), options_(options), maps_(methods::map_shape(*encoder_, name_.c_str())) {
  TORCH_CHECK_VALUE(!(options.light && options.skips), name_, ": skips=True needs decoder='conv'");
  if (options.light) {
    auto values = maps_.in_chans;
    for (const auto extent : maps_.cell) values *= extent;
    cells_ = register_module("decoder", std::make_shared<nn::Linear>(encoder_->shape().dim, values));
    nn::initialise(*cells_, options.seed + 1);
    return;
  }
  const auto& widths = maps_.widths;
  // Without skips the finer maps say how often the last one is doubled.
  decoder_ = register_module("decoder", std::make_shared<nn::ConvDecoder>(widths, maps_.rank, maps_.in_chans, options.skips, maps_.stride));
  nn::initialise_convolutional(*decoder_, options.seed + 1);
}

void Reconstruction::check(const DenseView& view) const {
  TORCH_CHECK_VALUE(view.values.dim() == maps_.rank + 2 && view.values.size(1) == maps_.in_chans, name_, ": expected views [B, ", maps_.in_chans, ", ",
                    maps_.rank, " spatial axes], got ", view.values.sizes());
}

at::Tensor Reconstruction::decode(const nn::Features& features, const at::Tensor& input, const nn::Rows& rows) const {
  const auto sizes = input.sizes().slice(2).vec();
  if (decoder_) return decoder_->forward(maps_of(features, input, maps_), sizes, rows);
  const auto grid = maps_of(features, input, maps_).back().sizes().slice(2).vec();
  for (std::size_t a = 0; a < sizes.size(); ++a)
    TORCH_CHECK_VALUE(grid[a] * maps_.cell[a] >= sizes[a] && (grid[a] - 1) * maps_.cell[a] < sizes[a], name_, ": decoder='light' cannot restore axis ", a,
                      " of ", sizes[a], " cells from ", grid[a], " cells of the last map, which cover ", maps_.cell[a], " each; use decoder='conv'");
  const auto values = cells_->forward(features.patches(), nn::Rows(features.patch_lengths(), rows.samples()));
  auto out = nn::unpatchify(values.view({input.size(0), -1, values.size(1)}), grid, maps_.cell);
  for (std::size_t a = 0; a < sizes.size(); ++a) out = out.narrow(static_cast<std::int64_t>(a) + 2, 0, sizes[a]);
  return out;
}

at::Tensor Reconstruction::reconstruct(const at::Tensor& dense) const {
  const DenseView view{standardized(dense, *encoder_), {}};
  check(view);
  const auto features = encoder_->forward_view(nn::DenseInput{view.values, {}});
  return decode(features, view.values, nn::Rows::single(view.size()));
}

Attempt Reconstruction::attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const {
  const auto features = encode(exercise, view, context);
  const auto restored = decode(features, exercise.input, nn::Rows::single(view.size(), context.samples));
  const auto off = restored - target(view).to(restored.scalar_type());
  const auto error = options_.distance == Distance::kL1 ? off.abs() : off.square();
  Attempt out;
  out.features = features.pooled.detach();
  if (!exercise.answer.defined()) {
    out.total = error.mean();
    out.weight = static_cast<double>(error.numel());
    return out;
  }
  const auto hidden = exercise.answer.to(error.scalar_type()).expand_as(error);
  const auto count = hidden.sum(), left = static_cast<double>(error.numel()) - count;
  const auto inside = (error * hidden).sum();
  out.total = options_.scored_all ? error.mean() : inside / count;
  out.weight = options_.scored_all ? static_cast<double>(error.numel()) : count.item<double>();
  if (options_.scored_all) out.parts.emplace_back("hidden", (inside / count).detach());
  out.parts.emplace_back("visible", ((error.sum() - inside) / left.clamp_min(1)).detach());
  return out;
}

}  // namespace sslmed::methods
