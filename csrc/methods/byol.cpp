#include "methods/byol.h"

#include <utility>

#include "methods/losses.h"

namespace sslmed::methods {

Byol::Byol(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const ByolOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : TwinPrediction("byol", std::move(encoder), std::move(twin), {.hidden = options.hidden, .out = options.out},
                     {.in = options.out, .hidden = options.hidden, .out = options.out}, options.momentum, options.seed, std::move(recipe)) {}

at::Tensor Byol::compared(const at::Tensor& predicted, const at::Tensor& target, const nn::Comm&) const {
  if (predicted.size(0) == 0) return predicted.sum();
  return byol(predicted, target);
}

}  // namespace sslmed::methods
