#include "nn/conv_layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

namespace sslmed::nn {
namespace {

std::vector<std::int64_t> each_axis(std::int64_t rank, std::int64_t value) { return std::vector<std::int64_t>(static_cast<std::size_t>(rank), value); }

}  // namespace

Conv::Conv(std::int64_t in, std::int64_t out, std::vector<std::int64_t> kernel, std::vector<std::int64_t> stride, std::vector<std::int64_t> padding,
           bool biased)
    : stride_(std::move(stride)), padding_(std::move(padding)) {
  std::vector<std::int64_t> shape{out, in};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  // Pictures go through oneDNN with their channels last, and weights in that order need no reordering at every step.
  const auto format = kernel.size() == 2 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  weight = register_parameter("weight", at::empty(shape, at::kFloat, format).zero_());
  if (biased) bias = register_parameter("bias", at::zeros({out}));
}

Conv::Conv(std::int64_t in, std::int64_t out, std::int64_t rank, std::int64_t kernel, std::int64_t stride, bool biased)
    : Conv(in, out, each_axis(rank, kernel), each_axis(rank, stride), each_axis(rank, kernel / 2), biased) {}

void initialise_convolutional(torch::nn::Module& module, std::uint64_t seed) {
  const c10::NoGradGuard guard;
  const auto generator = at::detail::createCPUGenerator(seed);
  for (auto& item : module.named_parameters()) {
    auto& parameter = item.value();
    if (parameter.dim() < 2) continue;
    const auto out = static_cast<double>(parameter.size(0)), in = static_cast<double>(parameter.size(1));
    if (parameter.dim() == 2) {
      parameter.uniform_(-1 / std::sqrt(in), 1 / std::sqrt(in), generator);
    } else {
      const auto fan_out = out * static_cast<double>(parameter[0][0].numel());
      parameter.normal_(0, std::sqrt(2 / fan_out), generator);
    }
  }
}

}  // namespace sslmed::nn
