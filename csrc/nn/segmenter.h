#pragma once
// An encoder with a decoder of its maps: a class for every cell of the input.

#include <memory>
#include <string>
#include <vector>

#include "nn/dense_decoder.h"
#include "nn/encoder.h"

namespace sslmed::nn {

struct SegmenterConfig {
  std::string decoder = "unet";      // a name of decoder_names()
  std::int64_t classes = 2;          // at least 2: class 0 is usually the background
  std::int64_t features = 32;        // as in DenseDecoderConfig
  std::vector<std::int64_t> layers;  // blocks of a vision transformer whose tokens are maps, numbered from 0; empty: four, evenly
  UnetStyle style;                   // of the decoder; that of an encoder "unet" is its own, and this is not looked at
  std::uint64_t seed = 0;            // of the decoder's weights
};

class Segmenter : public torch::nn::Module {
 public:
  // Registers its parts as "encoder" and "decoder". ValueError for an encoder that does not say what maps it makes (one written in Python).
  Segmenter(std::shared_ptr<Encoder> encoder, SegmenterConfig config);

  const SegmenterConfig& config() const noexcept { return config_; }
  const std::shared_ptr<Encoder>& encoder() const noexcept { return encoder_; }
  const std::shared_ptr<DenseDecoder>& decoder() const noexcept { return decoder_; }
  // [B, classes, spatial…] logits. `input` is the view as an array of the weights' type, [B, C, spatial…], standardized as the encoder does it.
  at::Tensor forward_view(const Input& view, const at::Tensor& input, const Context& context = {}) const;
  // The same for an array [B, C, spatial…] of numbers or bytes.
  at::Tensor forward(const at::Tensor& dense) const;

 private:
  std::vector<at::Tensor> maps(const Features& features, const at::Tensor& input) const;

  SegmenterConfig config_;
  PyramidShape pyramid_;
  std::shared_ptr<Encoder> encoder_;
  std::shared_ptr<DenseDecoder> decoder_;
};

}  // namespace sslmed::nn
