#pragma once
// Batch normalisation (Ioffe and Szegedy, arXiv 1502.03167) over the batch of all ranks.

#include <torch/nn/module.h>

#include "nn/comm.h"

namespace sslmed::nn {

// Channels are axis 1 of x [B, C, spatial…]. Parameters and buffers have torch's names.
class BatchNorm : public torch::nn::Module {
 public:
  explicit BatchNorm(std::int64_t channels, double eps = 1e-5, double momentum = 0.1);
  // In training by the statistics of every rank's samples, in evaluation by the running ones. ValueError with fewer than two values a channel.
  at::Tensor forward(const at::Tensor& x, const Comm& comm = Comm::alone());
  // The same over the cells that are visible [B, spatial…] bool; the others become zero. Undefined: all are.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& visible, const Comm& comm);
  at::Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 private:
  double eps_, momentum_;
};

}  // namespace sslmed::nn
