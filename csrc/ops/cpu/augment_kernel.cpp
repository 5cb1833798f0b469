#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <vector>

#include "ops/augment.h"
#include "transforms/augment.h"

namespace sslmed::ops {

namespace {

at::Tensor augment_on_cpu(const at::Tensor& pictures, const c10::intrusive_ptr<AugmentPlanList>& list, std::int64_t patch) {
  const auto& plans = list->plans;
  auto out = at::empty({check_augment(pictures, plans, patch), 3 * patch * patch}, at::kByte);
  const auto* bytes = pictures.const_data_ptr<std::uint8_t>();
  std::vector<std::uint8_t*> into;
  auto* next = out.data_ptr<std::uint8_t>();
  for (const auto& placed : plans) {
    into.push_back(next);
    next += 3 * placed.plan.size * placed.plan.size;
  }
  at::parallel_for(0, static_cast<std::int64_t>(plans.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> picture;
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const auto& [plan, first, width, height] = plans[i];
      picture.resize(static_cast<std::size_t>(3 * plan.size * plan.size));
      transforms::apply(plan, bytes + first, width, height, picture.data());
      transforms::to_squares(picture.data(), plan.size, patch, into[i]);
    }
  });
  return out;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) { m.impl("augment", sslmed::ops::augment_on_cpu); }
