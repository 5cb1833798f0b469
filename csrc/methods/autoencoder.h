#pragma once
// Auto-encoders, and denoising ones (Vincent et al., ICML 2008): the sample itself is restored.

#include "methods/reconstruction.h"

namespace sslmed::methods {

struct AutoencoderOptions {
  ReconstructionOptions reconstruction;
  double noise = 0;  // standard deviation of normal noise that is added to the input; 0: none
};

class Autoencoder : public Reconstruction {
 public:
  Autoencoder(std::shared_ptr<nn::Encoder> encoder, const AutoencoderOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  Exercise pose(const DenseView& view) const override;

  double noise_;
};

}  // namespace sslmed::methods
