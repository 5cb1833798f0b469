#include "ops/augment.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/custom_class.h>
#include <torch/library.h>

namespace sslmed::ops {

std::int64_t check_augment(const at::Tensor& pictures, const AugmentPlans& plans, std::int64_t patch) {
  TORCH_CHECK_TYPE(pictures.scalar_type() == at::kByte, "augment: pictures must be uint8, got ", pictures.scalar_type());
  TORCH_CHECK_VALUE(pictures.dim() == 1 && pictures.is_contiguous(), "augment: pictures must be [bytes], got ", pictures.sizes());
  TORCH_CHECK_VALUE(patch >= 1, "augment: patch=", patch, " must be at least 1 pixel");
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const auto& [plan, first, width, height] = plans[i];
    TORCH_CHECK_VALUE(width >= 1 && height >= 1 && first >= 0 && width <= (1 << 20) && height <= (1 << 20) && first <= pictures.numel() - 3 * width * height,
                      "augment: picture ", i, " of ", width, " x ", height, " at byte ", first, " is not within ", pictures.numel(), " bytes");
    TORCH_CHECK_VALUE(plan.size >= patch && plan.size % patch == 0 && plan.size <= (1 << 14), "augment: size=", plan.size,
                      " pixels is not a multiple of patch=", patch);
    TORCH_CHECK_VALUE(plan.turns >= 0 && plan.turns < 4, "augment: turns=", plan.turns, " must be 0 to 3 quarters");
    transforms::check_box(plan.box, width, height);
    rows += (plan.size / patch) * (plan.size / patch);
  }
  return rows;
}

at::Tensor augment(const at::Tensor& pictures, AugmentPlans plans, std::int64_t patch) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::augment", "")
                             .typed<at::Tensor(const at::Tensor&, const c10::intrusive_ptr<AugmentPlanList>&, std::int64_t)>();
  return op.call(pictures, c10::make_intrusive<AugmentPlanList>(std::move(plans)), patch);
}

}  // namespace sslmed::ops

TORCH_LIBRARY_FRAGMENT(sslmed, m) {
  m.class_<sslmed::ops::AugmentPlanList>("AugmentPlanList");
  m.def("augment(Tensor pictures, __torch__.torch.classes.sslmed.AugmentPlanList plans, int patch) -> Tensor");
}
