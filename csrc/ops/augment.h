#pragma once
// Pictures as their plans say: crops, flips, turns, colours, stains, blur. On the device where the pictures lie.

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <utility>
#include <vector>

#include "transforms/augment_plan.h"

namespace sslmed::ops {

using AugmentPlans = std::vector<transforms::PlacedPlan>;

// pictures uint8 [bytes], one after the other, each [height, width, 3]. Returns uint8 [rows, 3·patch²]: the results' squares of `patch` pixels, row by row,
// one result after the other, in the order of the plans. Results on CUDA are the CPU's to the bit but for the rounding of changes of density and hue (±1).
// ValueError where a plan reaches beyond its picture, or its size is no multiple of the patch.
at::Tensor augment(const at::Tensor& pictures, AugmentPlans plans, std::int64_t patch);

// Plans as the dispatcher carries them.
struct AugmentPlanList : torch::CustomClassHolder {
  explicit AugmentPlanList(AugmentPlans list) : plans(std::move(list)) {}
  AugmentPlans plans;
};

// The rows of the result; for the kernels, so that whoever comes through the dispatcher is checked too.
std::int64_t check_augment(const at::Tensor& pictures, const AugmentPlans& plans, std::int64_t patch);

}  // namespace sslmed::ops
