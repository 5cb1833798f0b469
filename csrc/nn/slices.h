#pragma once
// An encoder of two axes over the slices of volumes: "2.5-D" features, without a new weight unless slices are pooled by
// attention.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/encoder.h"
#include "nn/layers.h"

namespace sslmed::nn {

// What stands for one slice.
enum class SliceFeature {
  kMean,       // mean over its patches or cells
  kClassToken  // its class token
};

struct SliceConfig {
  std::vector<std::int64_t> axes{0};     // axes that slices are perpendicular to, each in [0, 3), none twice
  std::int64_t stride = 1;               // cells between slices
  std::int64_t around = -1;              // only the middle slice and so many on each side of it; negative: all
  bool upright = false;                  // transpose slices and turn their rows over: of RAS+ volumes, front or top up
  std::vector<std::int64_t> slice_size;  // rows and columns that slices are resampled to; empty: as they are
  std::int64_t in_chans = 0;             // channels of the encoder: one channel is repeated to these; 0: as they are
  std::int64_t chunk = 64;               // slices in a pass of the encoder; 0: all
  SliceFeature feature = SliceFeature::kMean;
  bool attention = false;  // pool slices by attention, one pool for each axis; otherwise their mean
  bool join = true;        // features of axes side by side; otherwise their mean
  std::uint64_t seed = 0;  // of the pools' initial weights
};

// Dense views [B, C, D, H, W]. `tokens` are features of slices, axis by axis and ascending; with `join`, the features
// of an axis stand in that axis's columns and zeros in the others. `pyramid` is empty.
class SliceEncoder : public Encoder {
 public:
  SliceEncoder(std::shared_ptr<Encoder> encoder, SliceConfig config);

  const SliceConfig& config() const noexcept { return config_; }
  const std::shared_ptr<Encoder>& encoder() const noexcept { return encoder_; }
  // Depth 0: layer decay and dropped paths do not reach into the slices' encoder.
  EncoderShape shape() const override;
  Features forward_view(const Input& view, const Context& context = {}) const override;
  bool gathers() const override { return encoder_->gathers(); }
  at::Tensor absent(const Context& context) const override;
  // Places of the slices along an axis of `cells`. ValueError where there are too few.
  std::vector<std::int64_t> places(std::int64_t cells) const;

 private:
  at::Tensor slices_of(const at::Tensor& volumes, std::int64_t axis) const;               // [B·n, C, rows, columns]
  at::Tensor features_of_slices(const at::Tensor& slices, const Context& context) const;  // [B·n, d]

  SliceConfig config_;
  std::shared_ptr<Encoder> encoder_;
  std::vector<std::shared_ptr<AttentivePool>> pools_;
};

}  // namespace sslmed::nn
