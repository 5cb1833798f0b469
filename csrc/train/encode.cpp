#include "train/encode.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "methods/objective.h"

namespace sslmed::train {

Features encode(const nn::VisionTransformer& encoder, data::Loader& loader, Pooling pooling) {
  const c10::NoGradGuard guard;
  const at::Device device = encoder.parameters().front().device();
  std::vector<at::Tensor> rows;
  std::vector<std::int64_t> ids;
  while (const auto batch = loader.next()) {
    for (const auto& packed : batch->patches) {
      const auto view = packed.to(device);
      const auto encoded = encoder.forward_tokens(methods::tokens_of(view));
      auto values = encoded.pooled;
      if (pooling == Pooling::kClassToken) {
        std::vector<std::int64_t> firsts;
        std::int64_t row = 0;
        for (const auto length : encoded.lengths) {
          firsts.push_back(row);
          row += length;
        }
        values = encoded.tokens.index_select(0, at::tensor(firsts, at::kLong).to(device));
      }
      rows.push_back(values.to(at::kCPU, at::kFloat));
      for (const auto slot : view.slots) ids.push_back(batch->sample_ids[static_cast<std::size_t>(slot)]);
    }
  }
  if (rows.empty()) return {at::empty({0, encoder.config().dim}), at::empty({0}, at::kLong)};
  const auto sample_ids = at::tensor(ids, at::kLong);
  // Packing sorts a batch by length; hand the features back in the order of the samples.
  const auto order = sample_ids.argsort(/*stable=*/true, 0, false);
  return {at::cat(rows).index_select(0, order), sample_ids.index_select(0, order)};
}

}  // namespace sslmed::train
