#pragma once
// From the maps of a dense encoder back to its input: for auto-encoders and for what masked images are restored by.

#include <memory>
#include <vector>

#include "nn/conv_layers.h"

namespace sslmed::nn {

struct DecoderConfig {
  std::vector<std::int64_t> widths, strides;  // of the encoder's pyramid, from fine to coarse; along the axis of the longest strides
  std::int64_t rank = 2, out_channels = 3;
  bool skips = false;  // finer maps of the pyramid are joined to what comes from below; false: only the last map is read
};

class UpBlock;

// Nearest cells, a convolution of 3 cells, group normalization and GELU at every step from the coarsest map to the
// input; then a convolution of 1 cell. Samples do not interact.
class ConvDecoder : public torch::nn::Module {
 public:
  // ValueError that names what is out of range.
  ConvDecoder(DecoderConfig config, std::uint64_t seed);
  // `pyramid` from fine to coarse, or the last map alone where there are no skips; `size` of the input along each axis.
  // Returns [B, out_channels, size…].
  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const std::vector<std::int64_t>& size, const Rows& single) const;
  const DecoderConfig& config() const noexcept { return config_; }

 private:
  DecoderConfig config_;
  std::vector<std::int64_t> levels_;  // stride of the map that each block makes
  std::vector<std::shared_ptr<UpBlock>> blocks_;
  std::shared_ptr<Conv> head_;
};

}  // namespace sslmed::nn
