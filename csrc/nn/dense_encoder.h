#pragma once
// Encoders over dense inputs [B, C, spatial…] of any rank: convolutional networks and hierarchical transformers.

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/encoder.h"
#include "nn/layers.h"

namespace sslmed::nn {

struct DenseShape {
  std::int64_t rank = 2;                      // spatial axes, 1 to 3
  std::int64_t in_chans = 3;                  // channels of the input
  std::int64_t num_classes = 0;               // outputs of the linear head on pooled features; 0: no head
  std::vector<double> pixel_mean, pixel_std;  // of each channel, for bytes as parts of 255; empty: 0 and 1
};

class DenseEncoder : public Encoder {
 public:
  // ValueError that names the number out of range.
  explicit DenseEncoder(DenseShape shape);

  const DenseShape& dense_shape() const noexcept { return dense_shape_; }
  // Checks rank, channels and extents, standardizes bytes, and calls forward_dense.
  Features forward_view(const Input& view, const Context& context = {}) const override;
  // As the network sees an input: bytes standardized, other numbers as they are, of the weights' type.
  at::Tensor standardized(const at::Tensor& x) const;
  // x [B, C, spatial…] of the weights' type. `tokens` are the cells of the last map, row-major, `pooled` their mean, `pyramid` the maps from fine to coarse.
  virtual Features forward_dense(const at::Tensor& x, const Context& context) const = 0;
  // [B, C, spatial…] to [B, num_classes], or to pooled features [B, D] without a head.
  at::Tensor forward(const at::Tensor& dense) const;
  // [B, C, spatial…] to the last map [B, D, spatial…].
  virtual at::Tensor forward_features(const at::Tensor& dense) const;

  // Channels, and input cells along an axis to a cell, of each map of the pyramid.
  virtual std::vector<std::int64_t> widths() const = 0;
  virtual std::vector<std::int64_t> strides() const = 0;
  // The same along each axis, where they differ; by default those of strides().
  virtual std::vector<std::vector<std::int64_t>> axis_strides() const;
  // Whether it takes Context::visible: cells that are not are as if they were not there.
  virtual bool takes_visible() const { return false; }
  // The fewest cells of the input along each axis.
  virtual std::int64_t min_size() const { return 1; }

 protected:
  // Called once by the constructor, after all other layers: `owner` holds the head under `name`. No head where
  // num_classes is 0.
  void make_head(torch::nn::Module& owner, const std::string& name, std::int64_t dim);
  // Of an encoder that gathers: a pass without samples.
  at::Tensor pass_without_samples(const Context& context) const;

 private:
  at::Tensor checked(const Input& view) const;

  DenseShape dense_shape_;
  at::Tensor pixel_scale_, pixel_shift_;  // [C, 1…] float64, of bytes
  at::Tensor reference_;                  // the first parameter: type and device of the input
  std::shared_ptr<Linear> head_;
};

// What a pyramid says of an encoder whose tokens are the cells of its last map. `pooled` is the mean over `visible`
// cells [B, spatial…]; undefined: all.
Features features_of(std::vector<at::Tensor> pyramid, const at::Tensor& visible = {});
// `visible` [B, cells of the last map…] for a map of `size`, a multiple of it along each axis: [B, size…].
at::Tensor visible_at(const at::Tensor& visible, at::IntArrayRef size);
// x [B, C, size…] with zeros in the cells that are not visible.
at::Tensor hidden_zero(const at::Tensor& x, const at::Tensor& visible);

}  // namespace sslmed::nn
