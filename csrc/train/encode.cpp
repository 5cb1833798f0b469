#include "train/encode.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "methods/objective.h"
#include "nn/pool.h"

namespace sslmed::train {
namespace {

// [n, width] of all batches, each view through `answer`.
template <class Answer>
SampleFeatures run(data::Loader& loader, const at::Device& device, std::int64_t width, const Answer& answer) {
  const c10::NoGradGuard guard;
  std::vector<at::Tensor> rows;
  std::vector<std::int64_t> ids;
  while (const auto batch = loader.next()) {
    for (const auto& packed : batch->views) {
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

SampleFeatures encode(const nn::Encoder& encoder, data::Loader& loader, const Pooling& pooling) {
  using Kind = Pooling::Kind;
  const auto width = encoder.shape().dim * (pooling.kind == Kind::kRegions ? pooling.regions : 1);
  return run(loader, encoder.parameters().front().device(), width, [&](const data::ViewBatch& view) {
    const auto features = encoder.forward_view(methods::input_of(view), methods::context_of(view, {}));
    if (pooling.kind == Kind::kRegions) {
      const auto& patches = view.patches("pooling='regions'");
      return nn::region_means(features.patches(), pooling.where(patches.coords), patches.lengths, pooling.regions);
    }
    if (pooling.kind == Kind::kMean) return features.pooled;
    TORCH_CHECK_VALUE(features.class_token, "pooling='cls' needs an encoder with a class token; use 'mean'");
    return nn::first_rows(features.tokens, features.lengths);
  });
}

SampleFeatures predict(const tasks::Supervised& task, data::Loader& loader) {
  return run(loader, task.parameters().front().device(), task.outputs(),
             [&](const data::ViewBatch& view) { return task.forward(methods::input_of(view), methods::context_of(view, {})); });
}

}  // namespace sslmed::train
