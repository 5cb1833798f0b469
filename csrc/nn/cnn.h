#pragma once
// A small convolutional encoder over dense inputs of any rank: what a signal, a picture or a volume needs to be trained on without patches.

#include "nn/batch_norm.h"
#include "nn/encoder.h"
#include "nn/layers.h"

namespace sslmed::nn {

struct CnnConfig {
  std::int64_t rank = 3;  // spatial axes, 1 to 3
  std::int64_t in_chans = 1;
  std::vector<std::int64_t> widths{16, 32, 64};  // of the stages; each halves the map
};

// Stages of a 3^rank convolution with stride 2, batch normalisation over all ranks, and ReLU.
class ConvEncoder : public Encoder {
 public:
  ConvEncoder(CnnConfig config, std::uint64_t seed);

  const CnnConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {config_.widths.back(), 0, 1, false, 0}; }
  // Tokens are the cells of the last map, row-major; `pyramid` has the map of each stage.
  Features forward_view(const Input& view, const Context& context = {}) const override;
  bool gathers() const override { return is_training(); }
  at::Tensor absent(const Context& context) const override;

 private:
  CnnConfig config_;
  std::vector<at::Tensor> weights_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;
};

}  // namespace sslmed::nn
