#pragma once
// The contracting half of a U-Net (Ronneberger et al., arXiv 1505.04597; as nnU-Net builds it, arXiv 1809.10486) as an encoder over inputs of rank 1, 2 or 3.
// With the decoder "unet" (nn/dense_decoder.h) it is the whole network. Parameter names are those of MONAI's DynUNet.

#include <memory>
#include <string>
#include <vector>

#include "nn/models.h"
#include "nn/unet_blocks.h"

namespace sslmed::nn {

struct UnetConfig {
  std::vector<std::int64_t> filters;   // channels of each level, from fine to coarse; at least two
  std::vector<Axes> kernels, strides;  // of each level's block; the first stride is usually 1
  UnetStyle style;
};

class UnetEncoder : public DenseEncoder {
 public:
  UnetEncoder(DenseShape shape, UnetConfig config, std::uint64_t seed);

  const UnetConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {config_.filters.back(), 0, 1, false, 0}; }
  // `pyramid` has the map of each level.
  Features forward_dense(const at::Tensor& x, const Context& context) const override;
  std::vector<std::int64_t> widths() const override { return config_.filters; }
  std::vector<std::int64_t> strides() const override;
  std::vector<Axes> axis_strides() const override;

 private:
  UnetConfig config_;
  std::vector<std::shared_ptr<UnetBlock>> blocks_;
};

// By the name unet.
std::shared_ptr<DenseEncoder> build_unet(const ModelConfig& config, ModelOptions& options);

}  // namespace sslmed::nn
