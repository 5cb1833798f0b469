#include "methods/reconstruction.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

#include "masking/mask.h"
#include "nn/vit.h"

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
  const nn::DecoderConfig config{maps_.widths, maps_.strides, maps_.rank, maps_.in_chans, options.skips};
  decoder_ = register_module("decoder", std::make_shared<nn::ConvDecoder>(config, options.seed + 1));
}

void Reconstruction::check(const DenseView& view) const {
  TORCH_CHECK_VALUE(view.values.dim() == maps_.rank + 2 && view.values.size(1) == maps_.in_chans, name_, ": expected views [B, ", maps_.in_chans, ", ",
                    maps_.rank, " spatial axes], got ", view.values.sizes());
}

std::vector<at::Tensor> Reconstruction::maps(const nn::Features& features, const Exercise& exercise) const { return maps_of(features, exercise.input, maps_); }

at::Tensor Reconstruction::decode(const nn::Features& features, const Exercise& exercise, const nn::Rows& rows) const {
  const auto& input = exercise.input;
  const auto sizes = input.sizes().slice(2).vec();
  if (decoder_) return decoder_->forward(maps(features, exercise), sizes, rows);
  const auto grid = maps_of(features, input, maps_).back().sizes().slice(2).vec();
  for (std::size_t a = 0; a < sizes.size(); ++a)
    TORCH_CHECK_VALUE(grid[a] * maps_.cell[a] >= sizes[a] && (grid[a] - 1) * maps_.cell[a] < sizes[a], name_, ": decoder='light' cannot restore axis ", a,
                      " of ", sizes[a], " cells from ", grid[a], " cells of the last map, which cover ", maps_.cell[a], " each; use decoder='conv'");
  const auto values = cells_->forward(features.patches(), nn::Rows(features.patch_lengths(), rows.samples()));
  auto out = unpatchify(values.view({input.size(0), -1, values.size(1)}), grid, maps_.cell);
  for (std::size_t a = 0; a < sizes.size(); ++a) out = out.narrow(static_cast<std::int64_t>(a) + 2, 0, sizes[a]);
  return out;
}

at::Tensor Reconstruction::reconstruct(const at::Tensor& dense) const {
  const DenseView view{standardized(dense, *encoder_), {}};
  check(view);
  const auto features = encoder_->forward_view(nn::DenseInput{view.values, {}});
  return decode(features, {view.values, {}}, nn::Rows::single(view.size()));
}

Attempt Reconstruction::attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const {
  const auto features = encode(exercise, view, context);
  const auto restored = decode(features, exercise, nn::Rows::single(view.size(), context.samples));
  const auto wanted = target(view);
  const auto off = restored.to(wanted.scalar_type()) - wanted;  // in the type of the views under autocast too
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

at::Tensor hidden_cells(const DenseView& view, const std::vector<std::int64_t>& cell, double ratio, const char* who) {
  const auto sizes = view.sizes();
  const auto rank = sizes.size();
  std::vector<std::int64_t> grid{view.size(), 1};
  std::int64_t cells = 1;
  for (std::size_t a = 0; a < rank; ++a) {
    grid.push_back((sizes[a] + cell[a] - 1) / cell[a]);
    cells *= grid.back();
  }
  const auto kept = static_cast<std::int64_t>(static_cast<double>(cells) * (1 - ratio));
  TORCH_CHECK_VALUE(kept > 0 && kept < cells, who, ": ratio=", ratio, " leaves ", kept, " of ", cells, " cells visible in views of ", at::IntArrayRef(sizes),
                    "; views must be larger than a cell of ", at::IntArrayRef(cell));
  auto hidden = at::zeros({view.size(), cells}, at::kBool);
  auto* marks = hidden.mutable_data_ptr<bool>();
  for (std::int64_t b = 0; b < view.size(); ++b)
    for (const auto chosen : masking::random_mask(cells, kept, view.draws[static_cast<std::size_t>(b)]).masked) marks[b * cells + chosen] = true;
  hidden = hidden.view(grid).to(view.values.device());
  for (std::size_t a = 0; a < rank; ++a) {
    const auto axis = static_cast<std::int64_t>(a) + 2;
    hidden = hidden.repeat_interleave(cell[a], axis).narrow(axis, 0, sizes[a]);
  }
  return hidden;
}

at::Tensor normalized_cells(const at::Tensor& values, const std::vector<std::int64_t>& cell, const char* who) {
  const auto sizes = values.sizes().slice(2);
  std::vector<std::int64_t> grid;
  for (std::size_t a = 0; a < sizes.size(); ++a) {
    TORCH_CHECK_VALUE(sizes[a] % cell[a] == 0, who, ": norm_target=True needs views that cells of ", cell[a], " divide, axis ", a, " has ", sizes[a], " cells");
    grid.push_back(sizes[a] / cell[a]);
  }
  const auto channels = values.size(1);
  const auto cells = nn::patchify(values, cell);
  const auto split = cells.view({cells.size(0), cells.size(1), -1, channels});
  const auto [var, mean] = at::var_mean(split, {2}, /*unbiased=*/true, /*keepdim=*/true);
  return unpatchify(((split - mean) * (var + 1e-6).rsqrt()).view(cells.sizes()), grid, cell);
}

}  // namespace sslmed::methods
