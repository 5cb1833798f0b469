#pragma once
// Watches features for collapse: an encoder that gives every sample the same answer has a low loss in many methods, and is worth nothing.

#include <ATen/core/Tensor.h>

#include <limits>
#include <stdexcept>

namespace sslmed::train {

struct FeatureHealth {
  // Standard deviation over samples, relative to the size of the features (both root mean squares over dimensions).
  double std = std::numeric_limits<double>::quiet_NaN();
  // exp of the entropy of the singular values of the centred features (Roy and Vetterli, 2007; RankMe, arXiv 2210.02885).
  double effective_rank = std::numeric_limits<double>::quiet_NaN();
};

// Of features [B, D]; NaN with fewer than two samples, or where they are not finite. Constant features have a rank of 1.
FeatureHealth feature_health(const at::Tensor& features);

// Training stopped because features had collapsed. Says the step and the figures.
class CollapseError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace sslmed::train
