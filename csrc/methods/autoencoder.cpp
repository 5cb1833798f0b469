#include "methods/autoencoder.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

namespace sslmed::methods {

Autoencoder::Autoencoder(std::shared_ptr<nn::Encoder> encoder, const AutoencoderOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : Reconstruction("autoencoder", std::move(encoder), options.reconstruction, std::move(recipe)), noise_(options.noise) {
  TORCH_CHECK_VALUE(noise_ >= 0, "autoencoder: noise=", noise_, " must not be negative");
}

Exercise Autoencoder::pose(const DenseView& view) const {
  check(view);
  return {noise_ > 0 ? view.values + normal_like(view.values, view.draws) * noise_ : view.values, {}};
}

}  // namespace sslmed::methods
