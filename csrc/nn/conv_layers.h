#pragma once
// Convolutions with parameters, and what they are initialised with.

#include <torch/nn/module.h>

#include <cstdint>
#include <vector>

#include "nn/functional.h"

namespace sslmed::nn {

// A convolution of any rank under torch's parameter names.
class Conv : public torch::nn::Module {
 public:
  // kernel, stride, padding: one number for each axis; padding on both sides.
  Conv(std::int64_t in, std::int64_t out, std::vector<std::int64_t> kernel, std::vector<std::int64_t> stride, std::vector<std::int64_t> padding, bool bias);
  // The same number along each of `rank` axes; padding keeps the extent where stride is 1.
  Conv(std::int64_t in, std::int64_t out, std::int64_t rank, std::int64_t kernel, std::int64_t stride = 1, bool bias = false);
  at::Tensor forward(const at::Tensor& x, const Rows& rows) const { return conv(x, weight, bias, stride_, padding_, rows); }
  at::Tensor weight, bias;  // [out, in, kernel…], [out] or undefined

 private:
  std::vector<std::int64_t> stride_, padding_;
};

// Convolutions by He's normal law for the fan out (arXiv 1502.01852), matrices by torch's uniform law for the fan in,
// in the order of the parameters.
void initialise_convolutional(torch::nn::Module& module, std::uint64_t seed);

}  // namespace sslmed::nn
