#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "ops/augment.h"
#include "transforms/augment.h"

namespace sslmed::ops {

namespace {

at::Tensor augment_on_cpu(const at::Tensor& pictures, const at::Tensor& sources, const at::Tensor& plans, std::int64_t patch) {
  auto out = at::empty({check_augment(pictures, sources, plans, patch), 3 * patch * patch}, at::kByte);
  const auto n = sources.size(0);
  const auto* all = reinterpret_cast<const transforms::AugmentPlan*>(plans.const_data_ptr<std::uint8_t>());
  const auto* source = sources.const_data_ptr<std::int64_t>();
  const auto* bytes = pictures.const_data_ptr<std::uint8_t>();
  std::vector<std::uint8_t*> into(static_cast<std::size_t>(n));
  auto* next = out.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    into[static_cast<std::size_t>(i)] = next;
    next += 3 * all[i].size * all[i].size;
  }
  at::parallel_for(0, n, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> picture;
    for (auto i = begin; i < end; ++i) {
      picture.resize(static_cast<std::size_t>(3 * all[i].size * all[i].size));
      transforms::apply(all[i], bytes + source[3 * i], source[3 * i + 1], source[3 * i + 2], picture.data());
      transforms::to_squares(picture.data(), all[i].size, patch, into[static_cast<std::size_t>(i)]);
    }
  });
  return out;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) { m.impl("augment", sslmed::ops::augment_on_cpu); }
