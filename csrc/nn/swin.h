#pragma once
// Shifted-window transformers (Liu et al., arXiv 2103.14030; in three axes: Hatamizadeh et al., arXiv 2201.01266) over
// inputs of rank 1, 2 or 3. Parameter names are those of timm; MONAI's "layers1.0" is "layers.0" here, and its
// "mlp.linear1" is "mlp.fc1".

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/models.h"
#include "nn/windows.h"

namespace sslmed::nn {

struct SwinConfig {
  std::int64_t embed_dim = 96;                     // channels of the first stage; each stage has twice those of the one before
  std::array<std::int64_t, 4> depths{2, 2, 6, 2};  // blocks of each stage
  std::array<std::int64_t, 4> heads{3, 6, 12, 24};
  std::vector<std::int64_t> patch_size, window_size;  // one number for each axis
  double mlp_ratio = 4;
  // timm: a norm after the patches and one at the end; cells are merged before a stage. MONAI: neither norm; cells are
  // merged after each stage, the last one too, and maps are normalized without weights.
  bool monai = false;
  bool normalize = true;  // of MONAI's: normalize the maps
  WindowPadding padding = WindowPadding::kRollFirst;
  bool first_rows = false;  // windows that a small map shrinks take the first rows of the full window's index, as MONAI does: mostly wrong offsets
  Merging merging = Merging::kTimm;
};

class SwinStage;

class Swin : public DenseEncoder {
 public:
  Swin(DenseShape shape, SwinConfig config, std::uint64_t seed);

  const SwinConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override;
  Features forward_dense(const at::Tensor& x, const Context& context) const override;
  std::vector<std::int64_t> widths() const override;
  std::vector<std::int64_t> strides() const override;
  std::vector<std::vector<std::int64_t>> axis_strides() const override;
  std::int64_t layer_of(const std::string& parameter) const override;

 private:
  at::Tensor embedded(const at::Tensor& x, Grid& grid, const Rows& single) const;  // [B, cells, D]

  SwinConfig config_;
  at::Tensor patch_weight_, patch_bias_;
  std::shared_ptr<LayerNorm> patch_norm_, norm_;
  std::vector<std::shared_ptr<SwinStage>> stages_;
};

// By the names swin_tiny, swin_small and swin_base.
std::shared_ptr<DenseEncoder> build_swin(const ModelConfig& config, ModelOptions& options);

}  // namespace sslmed::nn
