#pragma once
// What tasks share that restore a sample from a changed one: an encoder, and a decoder back to the resolution of the input.

#include "methods/pretext.h"
#include "nn/decoder.h"
#include "nn/layers.h"

namespace sslmed::methods {

enum class Distance { kL1, kMse };

struct ReconstructionOptions {
  Distance distance = Distance::kMse;
  bool light = false;       // a linear map of each cell of the last map to the cells that it covers, instead of a ConvDecoder
  bool skips = false;       // all maps of the pyramid go into the ConvDecoder, not the last one alone
  bool scored_all = false;  // the loss is over all values, not over the hidden ones alone
  std::uint64_t seed = 0;
};

class Reconstruction : public Pretext {
 public:
  // [B, C, spatial…] that the decoder makes of an input.
  at::Tensor reconstruct(const at::Tensor& dense) const;

 protected:
  Reconstruction(std::string name, std::shared_ptr<nn::Encoder> encoder, const ReconstructionOptions& options, std::shared_ptr<const data::Recipe> recipe);
  // The mean over the values that are hidden: answers are bool, broadcastable to the views; undefined: nothing is hidden, and all values count.
  Attempt attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const final;
  // What is to be restored of a view.
  virtual at::Tensor target(const DenseView& view) const { return view.values; }
  // Maps of the pyramid as the decoder takes them.
  virtual std::vector<at::Tensor> maps(const nn::Features& features, const Exercise& exercise) const;
  void check(const DenseView& view) const;
  const MapShape& map_shape() const noexcept { return maps_; }

 private:
  at::Tensor decode(const nn::Features& features, const Exercise& exercise, const nn::Rows& rows) const;

  ReconstructionOptions options_;
  MapShape maps_;
  std::shared_ptr<nn::ConvDecoder> decoder_;
  std::shared_ptr<nn::Linear> cells_;
};

// Cells of `cell` cells that are hidden of each sample, as many as `ratio` says: [B, 1, spatial…] bool. Cells at the end may be cut. ValueError of `who`
// where none or all would be hidden.
at::Tensor hidden_cells(const DenseView& view, const std::vector<std::int64_t>& cell, double ratio, const char* who);
// Each channel of each cell by its own mean and unbiased variance. ValueError of `who` where cells do not divide the view.
at::Tensor normalized_cells(const at::Tensor& values, const std::vector<std::int64_t>& cell, const char* who);

}  // namespace sslmed::methods
