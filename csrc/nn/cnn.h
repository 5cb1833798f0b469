#pragma once
// A small convolutional encoder over dense inputs of any rank: what a signal, a picture or a volume needs to be trained
// on without patches.

#include "nn/batch_norm.h"
#include "nn/conv_layers.h"
#include "nn/models.h"

namespace sslmed::nn {

struct CnnConfig {
  std::int64_t rank = 3;  // spatial axes, 1 to 3
  std::int64_t in_chans = 1;
  std::vector<std::int64_t> widths{16, 32, 64};  // of the stages; each halves the map
};

// Stages of a 3^rank convolution with stride 2, batch normalisation over all ranks, and ReLU.
class ConvEncoder : public DenseEncoder {
 public:
  ConvEncoder(CnnConfig config, std::uint64_t seed);
  ConvEncoder(DenseShape shape, std::vector<std::int64_t> widths, std::uint64_t seed);

  EncoderShape shape() const override { return {widths_.back(), 0, 1, false, 0}; }
  // `pyramid` has the map of each stage.
  Features forward_dense(const at::Tensor& x, const Context& context) const override;
  std::vector<std::int64_t> widths() const override { return widths_; }
  std::vector<std::int64_t> strides() const override;
  bool takes_visible() const override { return true; }
  bool gathers() const override { return is_training(); }
  at::Tensor absent(const Context& context) const override { return pass_without_samples(context); }

 private:
  std::vector<std::int64_t> widths_;
  std::vector<std::shared_ptr<Conv>> convs_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;
};

// By the name convnet.
std::shared_ptr<DenseEncoder> build_convnet(const ModelConfig& config, ModelOptions& options);

}  // namespace sslmed::nn
