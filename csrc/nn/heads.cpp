#include "nn/heads.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <string>

namespace sslmed::nn {
namespace {

std::vector<std::shared_ptr<Linear>> matrices(torch::nn::Module& owner, std::int64_t in, std::int64_t hidden, std::int64_t out, std::int64_t count) {
  TORCH_CHECK_VALUE(in > 0 && hidden > 0 && out > 0, "a head's widths must be positive, got ", in, ", ", hidden, " and ", out);
  TORCH_CHECK_VALUE(count > 0, "a head needs at least one layer, got ", count);
  const auto mlp = owner.register_module("mlp", std::make_shared<torch::nn::Module>());
  std::vector<std::shared_ptr<Linear>> layers;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto from = i == 0 ? in : hidden, to = i + 1 == count ? out : hidden;
    layers.push_back(mlp->register_module(std::to_string(i), std::make_shared<Linear>(from, to)));
  }
  return layers;
}

}  // namespace

MlpHead::MlpHead(const MlpHeadConfig& config) : layers_(matrices(*this, config.in, config.hidden, config.out, config.layers)) {
  const auto norms = register_module("norms", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const bool last = i + 1 == config.layers;
    norms_.push_back((last ? config.last_norm : config.norm)
                         ? norms->register_module(std::to_string(i), std::make_shared<BatchNorm>(last ? config.out : config.hidden))
                         : nullptr);
  }
}

at::Tensor MlpHead::forward(const at::Tensor& x, const Comm& comm) const {
  auto out = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    out = layers_[i]->forward(out, Rows::single(out.size(0)));
    if (norms_[i]) out = norms_[i]->forward(out, comm);
    if (i + 1 < layers_.size()) out = at::relu(out);
  }
  return out;
}

PrototypeHead::PrototypeHead(const PrototypeHeadConfig& config) : layers_(matrices(*this, config.in, config.hidden, config.bottleneck, config.layers)) {
  TORCH_CHECK_VALUE(config.prototypes > 1, "prototypes must be at least 2, got ", config.prototypes);
  prototypes_ = register_parameter("prototypes", at::zeros({config.prototypes, config.bottleneck}));
}

at::Tensor PrototypeHead::forward(const at::Tensor& x) const {
  auto out = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    out = layers_[i]->forward(out, Rows::single(out.size(0)));
    if (i + 1 < layers_.size()) out = at::gelu(out);
  }
  const auto unit = [](const at::Tensor& rows) { return rows / at::linalg_vector_norm(rows, 2, {-1}, /*keepdim=*/true).clamp_min(1e-12); };
  return linear(unit(out), unit(prototypes_), at::Tensor(), Rows::single(out.size(0)));
}

}  // namespace sslmed::nn
