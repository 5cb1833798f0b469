#pragma once
// From the maps of any encoder to a map of classes at the resolution of the input: linear, U-Net, UNETR and UPerNet decoders of rank 1, 2 or 3.

#include <memory>
#include <string>
#include <vector>

#include "nn/unet_blocks.h"

namespace sslmed::nn {

// What maps an encoder makes of an input.
struct PyramidShape {
  std::int64_t rank = 2, in_chans = 3;
  std::vector<std::int64_t> widths;  // channels of each map, from fine to coarse
  std::vector<Axes> strides;         // input cells to a cell of each map, along each axis; they never shrink
};

struct DenseDecoderConfig {
  PyramidShape pyramid;
  std::int64_t out_channels = 2;
  std::int64_t features = 32;  // unetr: channels at the input's resolution, doubled at each coarser level; upernet: channels of every level
  std::vector<Axes> kernels;   // unet: of the block of each level; empty: 3
  UnetStyle style;             // unet, unetr and upernet
};

class DenseDecoder : public torch::nn::Module {
 public:
  // pyramid: maps [B, C_i, spatial…] from fine to coarse; input [B, C, spatial…] as the encoder saw it, which "unet" and "unetr" look at; rows: one a sample.
  // Returns [B, out_channels, spatial…] of the input's size.
  virtual at::Tensor forward(const std::vector<at::Tensor>& pyramid, const at::Tensor& input, const Rows& rows) const = 0;
};

// "linear": a linear map of each cell of the last map, interpolated.
// "unet": transposed convolutions and skip connections (arXiv 1505.04597), under the names of MONAI's DynUNet. Where the finest map is coarser than the
//   input, the input itself is one level more.
// "unetr": UNETR's (arXiv 2103.10504), under MONAI's names: a level for each power of two, which the maps of a transformer are brought to.
// "upernet": UPerNet's (arXiv 1807.10221): pyramid pooling of the last map, a feature pyramid, and all levels fused at the finest one.
// ValueError for another name, or for a pyramid that does not fit.
std::shared_ptr<DenseDecoder> create_decoder(const std::string& name, const DenseDecoderConfig& config, std::uint64_t seed);
std::vector<std::string> decoder_names();

// The builders of the table.
std::shared_ptr<DenseDecoder> build_unet_decoder(const DenseDecoderConfig& config);
std::shared_ptr<DenseDecoder> build_unetr_decoder(const DenseDecoderConfig& config);
std::shared_ptr<DenseDecoder> build_upernet_decoder(const DenseDecoderConfig& config);

}  // namespace sslmed::nn
