#include "nn/dense_decoder.h"

#include <c10/util/Exception.h>

#include <functional>
#include <utility>

namespace sslmed::nn {
namespace {

class LinearDecoder : public DenseDecoder {
 public:
  explicit LinearDecoder(const DenseDecoderConfig& config) {
    const auto rank = config.pyramid.rank;
    conv_ = register_module("conv", std::make_shared<Conv>(config.pyramid.widths.back(), config.out_channels, rank, 1, 1, /*biased=*/true));
  }
  at::Tensor forward(const std::vector<at::Tensor>& pyramid, const at::Tensor& input, const Rows& rows) const override {
    return upsample_linear(conv_->forward(pyramid.back(), rows), input.sizes().slice(2).vec(), rows);
  }

 private:
  std::shared_ptr<Conv> conv_;
};

struct DecoderRow {
  const char* name;
  std::function<std::shared_ptr<DenseDecoder>(const DenseDecoderConfig&)> build;
};

const std::vector<DecoderRow>& decoder_table() {
  static const std::vector<DecoderRow> table{
      {"linear", [](const DenseDecoderConfig& config) { return std::make_shared<LinearDecoder>(config); }},
      {"unet", build_unet_decoder},
      {"unetr", build_unetr_decoder},
      {"upernet", build_upernet_decoder},
  };
  return table;
}

void check_pyramid(const DenseDecoderConfig& config) {
  const auto& [rank, in_chans, widths, strides] = config.pyramid;
  TORCH_CHECK_VALUE(rank >= 1 && rank <= 3, "decoder: rank=", rank, " must be 1, 2 or 3");
  TORCH_CHECK_VALUE(in_chans > 0, "decoder: in_chans=", in_chans, " must be at least 1");
  TORCH_CHECK_VALUE(config.out_channels > 0, "decoder: out_channels=", config.out_channels, " must be at least 1");
  TORCH_CHECK_VALUE(config.features > 0, "decoder: features=", config.features, " must be at least 1");
  TORCH_CHECK_VALUE(!widths.empty(), "decoder: widths must hold the channels of each map of the pyramid");
  TORCH_CHECK_VALUE(strides.size() == widths.size(), "decoder: strides has ", strides.size(), " entries, expected one for each of ", widths.size(), " widths");
  for (const auto width : widths) TORCH_CHECK_VALUE(width > 0, "decoder: widths=", width, " must be at least 1");
  for (std::size_t i = 0; i < strides.size(); ++i) {
    TORCH_CHECK_VALUE(static_cast<std::int64_t>(strides[i].size()) == rank, "decoder: strides of map ", i, " has ", strides[i].size(),
                      " numbers, expected one for each of rank=", rank, " axes");
    for (std::size_t axis = 0; axis < strides[i].size(); ++axis)
      TORCH_CHECK_VALUE(strides[i][axis] >= 1 && (i == 0 || strides[i][axis] % strides[i - 1][axis] == 0), "decoder: stride ", strides[i][axis], " of map ", i,
                        " must be a multiple of the finer map's");
  }
}

}  // namespace

std::shared_ptr<DenseDecoder> create_decoder(const std::string& name, const DenseDecoderConfig& config, std::uint64_t seed) {
  check_pyramid(config);
  std::string known;
  for (const auto& row : decoder_table()) {
    if (name == row.name) {
      auto decoder = row.build(config);
      initialise_unet(*decoder, seed);
      return decoder;
    }
    known += std::string(known.empty() ? "'" : ", '") + row.name + "'";
  }
  TORCH_CHECK_VALUE(false, "decoder='", name, "' must be one of ", known);
}

std::vector<std::string> decoder_names() {
  std::vector<std::string> names;
  for (const auto& row : decoder_table()) names.emplace_back(row.name);
  return names;
}

}  // namespace sslmed::nn
