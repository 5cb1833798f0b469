#pragma once
// What a trained network says of every sample of a source: an encoder's features, or a task's answers.

#include <memory>

#include "data/loader.h"
#include "methods/supervised.h"
#include "nn/encoder.h"

namespace sslmed::train {

enum class Pooling {
  kMean,        // over the patch tokens
  kClassToken,  // the class token
  kRegions,     // over those of six regions of the head, side by side: left, middle and right, front and back
};

struct Features {
  at::Tensor values;      // [n, D] float32; [n, 6 · D] with kRegions
  at::Tensor sample_ids;  // [n] int64, ascending where the sampler is sequential
};

// Runs the encoder over all batches of the loader, without gradients. Samples that could not be read are left out.
Features encode(const nn::Encoder& encoder, data::Loader& loader, Pooling pooling);
// The same with the task's head: values [n, outputs].
Features predict(const methods::Supervised& task, data::Loader& loader);

}  // namespace sslmed::train
