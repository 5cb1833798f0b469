#pragma once
// What a trained network says of every sample of a source: an encoder's features, or a task's answers.

#include <functional>
#include <memory>

#include "data/loader.h"
#include "nn/encoder.h"
#include "tasks/supervised.h"

namespace sslmed::train {

// How a sample's tokens become its features.
struct Pooling {
  enum class Kind {
    kMean,        // over the patch tokens
    kClassToken,  // the class token
    kRegions,     // over those of each region, side by side
  } kind = Kind::kMean;
  std::int64_t regions = 1;                                   // kRegions
  std::function<at::Tensor(const at::Tensor& coords)> where;  // coords [n, 4] → [n] int64 region, -1 for none (kRegions)
};

struct SampleFeatures {
  at::Tensor values;      // [n, D] float32; [n, regions · D] with kRegions
  at::Tensor sample_ids;  // [n] int64, ascending where the sampler is sequential
};

// Runs the encoder over all batches of the loader, without gradients. Samples that could not be read are left out.
SampleFeatures encode(const nn::Encoder& encoder, data::Loader& loader, const Pooling& pooling);
// The same with the task's head: values [n, outputs].
SampleFeatures predict(const tasks::Supervised& task, data::Loader& loader);

}  // namespace sslmed::train
