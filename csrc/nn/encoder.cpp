#include "nn/encoder.h"

#include <ATen/Functions.h>

#include <utility>

namespace sslmed::nn {

PatchTokens PatchTokens::select(const at::Tensor& rows, Lengths chosen) const {
  PatchTokens out;
  out.key = key;
  out.values = values.index_select(0, rows);
  if (coords.defined()) out.coords = coords.index_select(0, rows);
  if (channel.defined()) out.channel = channel.index_select(0, rows);
  if (position.defined()) out.position = position.index_select(0, rows);
  if (grid.defined()) out.grid = grid.index_select(0, rows);
  if (extents.defined()) {
    TORCH_CHECK_VALUE(!lengths.empty() && chosen.size() % lengths.size() == 0, chosen.size(), " sequences of tokens out of ", lengths.size());
    const auto each = static_cast<std::int64_t>(chosen.size() / lengths.size());
    out.extents = each == 1 ? extents : extents.repeat_interleave(each, 0);
  }
  out.lengths = std::move(chosen);
  return out;
}

Lengths Features::patch_lengths() const {
  auto out = lengths;
  for (auto& length : out) length -= prefix();
  return out;
}

}  // namespace sslmed::nn
