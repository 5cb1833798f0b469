#pragma once
// Boxes of a sample are hidden and restored: context encoders (Pathak et al., arXiv 1604.07379), and the in- and out-painting
// of Models Genesis (Zhou et al., arXiv 1908.06912). And whole sequences of a volume, from the other ones.

#include "methods/reconstruction.h"

namespace sslmed::methods {

enum class Fill { kNoise, kMean, kZeros };

struct InpaintingOptions {
  ReconstructionOptions reconstruction;
  Fill fill = Fill::kNoise;                    // noise of the mean and deviation of the sample's channel, that mean, or zeros
  std::int64_t boxes = 5;                      // of a sample; they may overlap
  std::vector<double> size{1.0 / 6, 1.0 / 3};  // bounds of a box's share of each axis
  double p_outer = 0;                          // probability that all but the boxes is hidden
  std::vector<double> outer_size{3.0 / 7, 4.0 / 7};
};

class Inpainting : public Reconstruction {
 public:
  Inpainting(std::shared_ptr<nn::Encoder> encoder, const InpaintingOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // Answers are what is hidden, [B, 1, spatial…] bool.
  Exercise pose(const DenseView& view) const override;

  InpaintingOptions options_;
};

struct CrossSequenceOptions {
  ReconstructionOptions reconstruction;
  Fill fill = Fill::kZeros;
  std::int64_t hidden = 1;  // channels of each sample
};

class CrossSequence : public Reconstruction {
 public:
  CrossSequence(std::shared_ptr<nn::Encoder> encoder, const CrossSequenceOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

 private:
  // Answers are the hidden channels, [B, C, 1…] bool.
  Exercise pose(const DenseView& view) const override;

  CrossSequenceOptions options_;
};

// The view with what is hidden (bool, broadcastable) filled.
at::Tensor filled(const DenseView& view, const at::Tensor& hidden, Fill fill);

}  // namespace sslmed::methods
