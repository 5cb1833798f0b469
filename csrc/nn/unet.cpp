#include "nn/unet.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace sslmed::nn {
namespace {

void check_unet(const UnetConfig& config) {
  const auto levels = config.filters.size();
  TORCH_CHECK_VALUE(levels >= 2, "unet: filters has ", levels, " numbers, expected one for each of at least 2 levels");
  TORCH_CHECK_VALUE(config.kernels.size() == levels && config.strides.size() == levels, "unet: ", config.kernels.size(), " kernels and ", config.strides.size(),
                    " strides, expected one for each of ", levels, " filters");
  for (const auto width : config.filters) TORCH_CHECK_VALUE(width > 0, "unet: filters=", width, " must be at least 1");
  TORCH_CHECK_VALUE(config.style.groups >= 0, "unet: groups=", config.style.groups, " must not be negative; 0: instance normalization");
}

// `given` has one number, one a level, or one for each level and axis.
std::vector<Axes> each_level(const std::vector<std::int64_t>& given, std::size_t levels, std::size_t rank, const char* name) {
  std::vector<Axes> out;
  for (const auto value : given) TORCH_CHECK_VALUE(value > 0, "unet: ", name, "=", value, " must be at least 1");
  TORCH_CHECK_VALUE(given.size() == 1 || given.size() == levels || given.size() == levels * rank, "unet: ", name, " has ", given.size(),
                    " numbers, expected 1, one for each of ", levels, " levels, or one for each level and axis (", levels * rank, ")");
  for (std::size_t level = 0; level < levels; ++level) {
    if (given.size() == levels * rank && rank > 1) {
      const auto first = given.begin() + static_cast<std::ptrdiff_t>(level * rank);
      out.emplace_back(first, first + static_cast<std::ptrdiff_t>(rank));
    } else {
      out.emplace_back(rank, given.size() == 1 ? given[0] : given[level]);
    }
  }
  return out;
}

}  // namespace

UnetEncoder::UnetEncoder(DenseShape shape, UnetConfig config, std::uint64_t seed) : DenseEncoder(std::move(shape)), config_(std::move(config)) {
  check_unet(config_);
  const auto& [filters, kernels, strides, style] = config_;
  const auto levels = filters.size();
  std::shared_ptr<torch::nn::Module> middle;
  for (std::size_t i = 0; i < levels; ++i) {
    auto block = std::make_shared<UnetBlock>(i == 0 ? dense_shape().in_chans : filters[i - 1], filters[i], kernels[i], strides[i], style);
    if (i == 0) {
      register_module("input_block", block);
    } else if (i + 1 == levels) {
      register_module("bottleneck", block);
    } else {
      if (!middle) middle = register_module("downsamples", std::make_shared<torch::nn::Module>());
      middle->register_module(std::to_string(i - 1), block);
    }
    blocks_.push_back(std::move(block));
  }
  make_head(*this, "fc", filters.back());
  initialise_unet(*this, seed);
}

std::vector<Axes> UnetEncoder::axis_strides() const {
  std::vector<Axes> out;
  Axes total(static_cast<std::size_t>(dense_shape().rank), 1);
  for (const auto& stride : config_.strides) {
    for (std::size_t axis = 0; axis < total.size(); ++axis) total[axis] *= stride[axis];
    out.push_back(total);
  }
  return out;
}

std::vector<std::int64_t> UnetEncoder::strides() const {
  std::vector<std::int64_t> out;
  for (const auto& stride : axis_strides()) out.push_back(*std::max_element(stride.begin(), stride.end()));
  return out;
}

Features UnetEncoder::forward_dense(const at::Tensor& input, const Context& context) const {
  const auto rows = Rows::single(input.size(0), context.samples);
  std::vector<at::Tensor> pyramid;
  for (const auto& block : blocks_) pyramid.push_back(block->forward(pyramid.empty() ? input : pyramid.back(), rows));
  return features_of(std::move(pyramid));
}

std::shared_ptr<DenseEncoder> build_unet(const ModelConfig& model, ModelOptions& options) {
  UnetConfig config;
  const auto rank = static_cast<std::size_t>(model.rank);
  // nnU-Net's: 32 channels, twice as many at each level, up to 320 (volumes) or 512.
  const std::int64_t widest = model.rank == 3 ? 320 : 512;
  std::vector<std::int64_t> filters;
  for (std::int64_t width = 32; filters.size() < (model.rank == 3 ? 5u : 6u); width *= 2) filters.push_back(std::min(width, widest));
  config.filters = options.integers("filters", filters);
  const auto levels = config.filters.size();
  std::vector<std::int64_t> strides(levels, 2);
  if (!strides.empty()) strides[0] = 1;
  config.kernels = each_level(options.integers("kernel_size", {3}), levels, rank, "kernel_size");
  config.strides = each_level(options.integers("strides", strides), levels, rank, "strides");
  config.style.groups = options.choice("norm", {"instance", "group"}) == "group" ? options.positive("groups", 8) : 0;
  config.style.residual = options.flag("residual", false);
  config.style.attention = options.flag("attention", false);
  options.finish();
  return std::make_shared<UnetEncoder>(model.shape(), std::move(config), model.seed);
}

}  // namespace sslmed::nn
