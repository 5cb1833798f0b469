#include "nn/detection_head.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace sslmed::nn {

DetectionHead::DetectionHead(const DetectionHeadConfig& config) {
  TORCH_CHECK_VALUE(config.scores >= 1, "detection head: scores=", config.scores, " must be at least 1");
  TORCH_CHECK_VALUE(config.prior > 0 && config.prior < 1, "detection head: prior=", config.prior, " must be within (0, 1)");
  hidden_ = register_module("hidden", std::make_shared<Conv>(config.in, config.in, config.rank, 3, 1, /*bias=*/true));
  out_ = register_module("out", std::make_shared<Conv>(config.in, config.scores + config.numbers, config.rank, 1, 1, /*bias=*/true));
  initialise_convolutional(*this, config.seed);
  const c10::NoGradGuard guard;
  out_->weight.mul_(0.1);  // the scores start near the prior everywhere
  out_->bias.slice(0, 0, config.scores).fill_(std::log(config.prior / (1 - config.prior)));
}

at::Tensor DetectionHead::forward(const at::Tensor& x, const Rows& rows) const { return out_->forward(at::relu(hidden_->forward(x, rows)), rows); }

}  // namespace sslmed::nn
