#include "ops/augment.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "transforms/augment_plan.h"

namespace sslmed::ops {

std::int64_t check_augment(const at::Tensor& pictures, const at::Tensor& sources, const at::Tensor& plans, std::int64_t patch) {
  constexpr auto kPlan = static_cast<std::int64_t>(sizeof(transforms::AugmentPlan));
  TORCH_CHECK_TYPE(pictures.scalar_type() == at::kByte && plans.scalar_type() == at::kByte && sources.scalar_type() == at::kLong,
                   "augment: pictures and plans must be uint8 and sources int64, got ", pictures.scalar_type(), ", ", plans.scalar_type(), " and ",
                   sources.scalar_type());
  TORCH_CHECK_VALUE(sources.is_cpu() && plans.is_cpu(), "augment: sources and plans must be on the CPU");
  TORCH_CHECK_VALUE(pictures.dim() == 1 && sources.dim() == 2 && sources.size(1) == 3 && plans.dim() == 2 && plans.size(0) == sources.size(0) &&
                        plans.size(1) == kPlan && pictures.is_contiguous() && sources.is_contiguous() && plans.is_contiguous(),
                    "augment: pictures must be [bytes], sources [B, 3] and plans [B, ", kPlan, "], got ", pictures.sizes(), ", ", sources.sizes(), " and ",
                    plans.sizes());
  TORCH_CHECK_VALUE(patch >= 1, "augment: a patch has at least one pixel, got ", patch);
  const auto* all = reinterpret_cast<const transforms::AugmentPlan*>(plans.const_data_ptr<std::uint8_t>());
  const auto* source = sources.const_data_ptr<std::int64_t>();
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < sources.size(0); ++i, source += 3) {
    const auto first = source[0], width = source[1], height = source[2], size = all[i].size;
    TORCH_CHECK_VALUE(width >= 1 && height >= 1 && first >= 0 && width <= (1 << 20) && height <= (1 << 20) && first <= pictures.numel() - 3 * width * height,
                      "augment: picture ", i, " of ", width, " x ", height, " at ", first, " is not within ", pictures.numel(), " bytes");
    TORCH_CHECK_VALUE(size >= patch && size % patch == 0 && size <= (1 << 14), "augment: ", size, " pixels are not made of patches of ", patch);
    TORCH_CHECK_VALUE(all[i].turns >= 0 && all[i].turns < 4, "augment: ", all[i].turns, " quarters of a turn");
    transforms::check_box(all[i].box, width, height);
    rows += (size / patch) * (size / patch);
  }
  return rows;
}

at::Tensor augment(const at::Tensor& pictures, const at::Tensor& sources, const at::Tensor& plans, std::int64_t patch) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::augment", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, std::int64_t)>();
  return op.call(pictures, sources, plans, patch);
}

}  // namespace sslmed::ops

TORCH_LIBRARY_FRAGMENT(sslmed, m) { m.def("augment(Tensor pictures, Tensor sources, Tensor plans, int patch) -> Tensor"); }
