#include "train/encode.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "methods/objective.h"

namespace sslmed::train {

namespace {

constexpr std::int64_t kRegions = 6;
constexpr double kMiddle = 5;  // mm from the midline

// [ΣN, D] tokens at coords [ΣN, 4] to [B, 6 · D]. A region without an electrode takes the mean over all, so that montages can be compared.
at::Tensor region_means(const at::Tensor& tokens, const at::Tensor& coords, const nn::Lengths& lengths) {
  TORCH_CHECK_VALUE(coords.defined(), "pooling by regions needs tokens with places on a head");
  const auto options = at::TensorOptions().dtype(at::kLong).device(tokens.device());
  const auto x = coords.select(1, 0), y = coords.select(1, 1);
  const auto region = x.gt(kMiddle).to(at::kLong) + x.ge(-kMiddle).to(at::kLong) + 3 * y.lt(0).to(at::kLong);
  const auto batch = static_cast<std::int64_t>(lengths.size());
  const auto sequence = at::repeat_interleave(at::arange(batch, options), at::tensor(lengths, at::kLong).to(tokens.device()));
  // Unknown places are nowhere in particular: they count for the mean over all alone.
  const auto known = x.isfinite().to(tokens.scalar_type());
  const auto cell = sequence * kRegions + region;
  const auto sums = at::zeros({batch * kRegions, tokens.size(1)}, tokens.options()).index_add_(0, cell, tokens * known.unsqueeze(1));
  const auto counts = at::zeros({batch * kRegions}, tokens.options()).index_add_(0, cell, known).view({batch, kRegions, 1});
  const auto all = nn::mean_rows(tokens, lengths, 0).unsqueeze(1);
  return at::where(counts.gt(0), sums.view({batch, kRegions, -1}) / counts.clamp_min(1), all).flatten(1);
}

// [n, width] of all batches, each view through `answer`.
template <class Answer>
Features run(data::Loader& loader, const at::Device& device, std::int64_t width, const Answer& answer) {
  const c10::NoGradGuard guard;
  std::vector<at::Tensor> rows;
  std::vector<std::int64_t> ids;
  while (const auto batch = loader.next()) {
    for (const auto& packed : batch->patches) {
      const auto view = packed.to(device);
      rows.push_back(answer(view).to(at::kCPU, at::kFloat));
      for (const auto slot : view.slots) ids.push_back(batch->sample_ids[static_cast<std::size_t>(slot)]);
    }
  }
  if (rows.empty()) return {at::empty({0, width}), at::empty({0}, at::kLong)};
  const auto sample_ids = at::tensor(ids, at::kLong);
  // Packing sorts a batch by length; hand the rows back in the order of the samples.
  const auto order = sample_ids.argsort(/*stable=*/true, 0, false);
  return {at::cat(rows).index_select(0, order), sample_ids.index_select(0, order)};
}

}  // namespace

Features encode(const nn::Encoder& encoder, data::Loader& loader, Pooling pooling) {
  const auto width = encoder.shape().dim * (pooling == Pooling::kRegions ? kRegions : 1);
  return run(loader, encoder.parameters().front().device(), width, [&](const data::PatchBatch& view) {
    const auto encoded = encoder.forward_tokens(methods::tokens_of(view));
    if (pooling == Pooling::kRegions) return region_means(encoded.patches(), view.coords, view.lengths);
    if (pooling == Pooling::kMean) return encoded.pooled;
    TORCH_CHECK_VALUE(encoded.class_token, "this encoder has no class token to pool by; use the mean");
    return nn::first_rows(encoded.tokens, encoded.lengths);
  });
}

Features predict(const methods::Supervised& task, data::Loader& loader) {
  return run(loader, task.parameters().front().device(), task.outputs(), [&](const data::PatchBatch& view) { return task.forward(methods::tokens_of(view)); });
}

}  // namespace sslmed::train
