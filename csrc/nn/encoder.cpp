#include "nn/encoder.h"

#include <ATen/Functions.h>

#include <map>
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
  if (hidden.defined()) {
    const auto marks = at::zeros({values.size(0)}, hidden.options()).index_fill(0, hidden, 1);
    out.hidden = marks.index_select(0, rows).nonzero().squeeze(1);
    out.mask_token = mask_token;
  }
  out.lengths = std::move(chosen);
  return out;
}

Lengths Features::patch_lengths() const {
  auto out = lengths;
  for (auto& length : out) length -= prefix();
  return out;
}

std::vector<Features> split_features(const Features& whole, const std::vector<std::int64_t>& counts) {
  std::vector<Features> out;
  std::int64_t first = 0, row = 0;
  for (const auto count : counts) {
    Features part;
    part.class_token = whole.class_token;
    part.registers = whole.registers;
    part.lengths.assign(whole.lengths.begin() + first, whole.lengths.begin() + first + count);
    std::int64_t rows = 0;
    for (const auto length : part.lengths) rows += length;
    part.tokens = whole.tokens.narrow(0, row, rows);
    part.pooled = whole.pooled.narrow(0, first, count);
    for (const auto& map : whole.pyramid) part.pyramid.push_back(map.narrow(0, first, count));
    first += count;
    row += rows;
    out.push_back(std::move(part));
  }
  return out;
}

std::int64_t Encoder::layer_of(const std::string& parameter) const {
  const std::string blocks = "blocks.";
  if (parameter.starts_with(blocks)) return std::stoll(parameter.substr(blocks.size())) + 1;
  return parameter.starts_with("norm.") ? shape().depth : 0;
}

std::vector<Features> Encoder::forward_all(const std::vector<Input>& views, const std::vector<Context>& contexts) const {
  TORCH_CHECK_VALUE(views.size() == contexts.size(), "a context for each view: ", contexts.size(), " for ", views.size());
  std::map<std::vector<std::int64_t>, std::vector<std::size_t>> by_shape;  // of one sample
  std::vector<Features> out(views.size());
  for (std::size_t i = 0; i < views.size(); ++i) {
    if (const auto* dense = std::get_if<DenseInput>(&views[i])) {
      by_shape[dense->values.sizes().slice(1).vec()].push_back(i);
    } else {
      out[i] = forward_view(views[i], contexts[i]);
    }
  }
  for (const auto& [shape, members] : by_shape) {
    std::vector<at::Tensor> values, spacing;
    std::vector<std::int64_t> counts;
    Context context = contexts[members.front()];
    context.samples.clear();
    for (const auto i : members) {
      const auto& dense = std::get<DenseInput>(views[i]);
      TORCH_CHECK_VALUE(!contexts[i].drop_path.defined(), "drop_path is drawn for one view at a time");
      TORCH_CHECK_VALUE(!contexts[i].visible.defined(), "visible cells are given for one view at a time");
      values.push_back(dense.values);
      if (dense.spacing.defined()) spacing.push_back(dense.spacing);
      counts.push_back(dense.size());
      context.samples.insert(context.samples.end(), contexts[i].samples.begin(), contexts[i].samples.end());
    }
    const bool one = members.size() == 1;
    const DenseInput stacked{one ? values[0] : at::cat(values), spacing.size() == members.size() ? at::cat(spacing) : at::Tensor()};
    const auto parts = split_features(forward_view(stacked, context), counts);
    for (std::size_t k = 0; k < members.size(); ++k) out[members[k]] = parts[k];
  }
  return out;
}

}  // namespace sslmed::nn
