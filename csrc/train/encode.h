#pragma once
// Features of a frozen encoder for every sample of a source.

#include <memory>

#include "data/loader.h"
#include "nn/vit.h"

namespace sslmed::train {

enum class Pooling { kMean, kClassToken };

struct Features {
  at::Tensor values;      // [n, D] float32
  at::Tensor sample_ids;  // [n] int64, ascending where the sampler is sequential
};

// Runs the encoder over all batches of the loader, without gradients. Samples that could not be read are left out.
Features encode(const nn::VisionTransformer& encoder, data::Loader& loader, Pooling pooling);

}  // namespace sslmed::train
