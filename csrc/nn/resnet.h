#pragma once
// Residual networks (He et al., arXiv 1512.03385; wide ones: Zagoruyko and Komodakis, arXiv 1605.07146) over inputs of
// rank 1, 2 or 3. Parameter names are those of timm and torchvision, which MONAI shares.

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "nn/batch_norm.h"
#include "nn/conv_layers.h"
#include "nn/models.h"

namespace sslmed::nn {

struct ResNetConfig {
  std::array<std::int64_t, 4> depths{2, 2, 2, 2};      // blocks of each stage
  bool bottleneck = false;                             // 1, 3 and 1 cells with four times the channels, instead of 3 and 3
  std::int64_t width_factor = 1;                       // of the inner channels of bottlenecks
  std::vector<std::int64_t> stem_kernel, stem_stride;  // of the first convolution, one number for each axis
  bool max_pool = true;                                // after the first convolution
  bool project = true;        // shortcuts across sizes: a 1-cell convolution (type B); false: strided cells and zero channels (type A, without parameters)
  bool project_bias = false;  // of that convolution
  bool zero_last = true;      // the last norm of each branch starts at 0, so that blocks start as identities
};

class ResNetBlock;

class ResNet : public DenseEncoder {
 public:
  ResNet(DenseShape shape, ResNetConfig config, std::uint64_t seed);

  const ResNetConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {widths().back(), 0, 1, false, 0}; }
  // `pyramid` has the map after the first convolution, and that of each stage.
  Features forward_dense(const at::Tensor& x, const Context& context) const override;
  std::vector<std::int64_t> widths() const override;
  std::vector<std::int64_t> strides() const override;
  std::vector<std::vector<std::int64_t>> axis_strides() const override;
  bool takes_visible() const override { return true; }
  bool gathers() const override { return is_training(); }
  at::Tensor absent(const Context& context) const override { return pass_without_samples(context); }

 private:
  ResNetConfig config_;
  std::shared_ptr<Conv> conv1_;
  std::shared_ptr<BatchNorm> bn1_;
  std::vector<std::vector<std::shared_ptr<ResNetBlock>>> stages_;
};

// By the names resnet10, resnet18, resnet34, resnet50 and wide_resnet50_2.
std::shared_ptr<DenseEncoder> build_resnet(const ModelConfig& config, ModelOptions& options);

}  // namespace sslmed::nn
