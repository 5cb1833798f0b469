#include "nn/functional.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/TracerMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "core/simd.h"
#include "nn/linear.h"
#include "nn/tokens.h"
#include "nn/window_attention.h"

namespace sslmed::nn {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows&) {
  return prefers_onednn(x, weight) ? linear_by_onednn(x, weight, bias) : at::linear(x, weight, bias);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps, const Rows&) {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

at::Tensor conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, std::int64_t stride, std::int64_t padding, const Rows& rows) {
  const auto rank = static_cast<std::size_t>(weight.dim()) - 2;
  return conv(x, weight, bias, std::vector<std::int64_t>(rank, stride), std::vector<std::int64_t>(rank, padding), rows);
}

at::Tensor conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const std::vector<std::int64_t>& stride,
                const std::vector<std::int64_t>& padding, const Rows&) {
  // Not at::convolution, which autocast leaves alone on the CPU.
  const std::vector<std::int64_t> ones(stride.size(), 1);  // dilation, written out for ONNX
  switch (weight.dim()) {
    case 3:
      return at::conv1d(x, weight, bias, stride, padding, ones);
    case 4:
      return at::conv2d(x, weight, bias, stride, padding, ones);
    case 5:
      return at::conv3d(x, weight, bias, stride, padding, ones);
    default:
      TORCH_CHECK_VALUE(false, "conv: expected a weight [D, C, 1 to 3 spatial axes], got ", weight.sizes());
  }
}

at::Tensor conv_transpose(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const std::vector<std::int64_t>& stride, const Rows&) {
  const std::vector<std::int64_t> zeros(stride.size(), 0);  // padding, output padding
  const std::vector<std::int64_t> ones(stride.size(), 1);   // dilation, written out for ONNX
  switch (weight.dim()) {
    case 3:
      return at::conv_transpose1d(x, weight, bias, stride, zeros, zeros, 1, ones);
    case 4:
      return at::conv_transpose2d(x, weight, bias, stride, zeros, zeros, 1, ones);
    case 5:
      return at::conv_transpose3d(x, weight, bias, stride, zeros, zeros, 1, ones);
    default:
      TORCH_CHECK_VALUE(false, "conv_transpose: expected a weight [C, D, 1 to 3 spatial axes], got ", weight.sizes());
  }
}

at::Tensor max_pool(const at::Tensor& x, std::int64_t kernel, std::int64_t stride, std::int64_t padding, const Rows&) {
  const std::vector<std::int64_t> kernels(static_cast<std::size_t>(x.dim()) - 2, kernel), strides(kernels.size(), stride), paddings(kernels.size(), padding);
  const std::vector<std::int64_t> ones(kernels.size(), 1);  // dilation, written out for ONNX
  switch (x.dim()) {
    case 3:
      return at::max_pool1d(x, kernels, strides, paddings, ones);
    case 4:
      return at::max_pool2d(x, kernels, strides, paddings, ones);
    case 5:
      return at::max_pool3d(x, kernels, strides, paddings, ones);
    default:
      TORCH_CHECK_VALUE(false, "max_pool: expected [B, C, 1 to 3 spatial axes], got ", x.sizes());
  }
}

at::Tensor upsample_nearest(const at::Tensor& x, const std::vector<std::int64_t>& size, const Rows&) {
  if (x.sizes().slice(2) == at::IntArrayRef(size)) return x;
  switch (x.dim()) {
    case 3:
      return at::upsample_nearest1d(x, size);
    case 4:
      return at::upsample_nearest2d(x, size);
    case 5:
      return at::upsample_nearest3d(x, size);
    default:
      TORCH_CHECK_VALUE(false, "upsample_nearest: expected [B, C, 1 to 3 spatial axes], got ", x.sizes());
  }
}

at::Tensor upsample_linear(const at::Tensor& x, const std::vector<std::int64_t>& size, const Rows&) {
  if (x.sizes().slice(2) == at::IntArrayRef(size)) return x;
  switch (x.dim()) {
    case 3:
      return at::upsample_linear1d(x, size, /*align_corners=*/false);
    case 4:
      return at::upsample_bilinear2d(x, size, /*align_corners=*/false);
    case 5:
      return at::upsample_trilinear3d(x, size, /*align_corners=*/false);
    default:
      TORCH_CHECK_VALUE(false, "upsample_linear: expected [B, C, 1 to 3 spatial axes], got ", x.sizes());
  }
}

at::Tensor adaptive_mean(const at::Tensor& x, std::int64_t cells, const Rows&) {
  switch (x.dim()) {
    case 3:
      return at::adaptive_avg_pool1d(x, cells);
    case 4:
      return at::adaptive_avg_pool2d(x, {cells, cells});
    case 5:
      return at::adaptive_avg_pool3d(x, {cells, cells, cells});
    default:
      TORCH_CHECK_VALUE(false, "adaptive_mean: expected [B, C, 1 to 3 spatial axes], got ", x.sizes());
  }
}

at::Tensor group_norm(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, const Rows&) {
  return at::group_norm(x, groups, weight, bias, eps);
}

at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& running_mean, const at::Tensor& running_var,
                      bool training, double momentum, double eps) {
  return at::batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, at::globalContext().userEnabledCuDNN());
}

at::Tensor prepend_token(const at::Tensor& x, const at::Tensor& token, const Rows& rows) { return prepend(x, token, rows.layout()); }

at::Tensor repeat_token(const at::Tensor& token, const Rows& rows) { return token.expand({rows.total(), -1}); }

at::Tensor replace_token(const at::Tensor& x, const at::Tensor& token, const at::Tensor& index, const Rows&) {
  return x.index_copy(0, index, token.to(x.scalar_type()).expand({index.size(0), -1}));
}

at::Tensor scale(const at::Tensor& x, const at::Tensor& gamma, const Rows&) { return x * gamma; }

at::Tensor rotate(const at::Tensor& qkv, const Rotation& rotation, std::int64_t heads) {
  if (!rotation.defined()) return qkv;
  const std::int64_t head_dim = qkv.size(-1) / 3 / heads;
  const auto split = qkv.view({qkv.size(0), 3, heads, head_dim});
  const auto turned = split.narrow(1, 0, 2);  // q and k
  const auto halves = turned.chunk(2, -1);
  const auto cos = rotation.cos.to(qkv.scalar_type()).view({-1, 1, 1, head_dim});
  const auto sin = rotation.sin.to(qkv.scalar_type()).view({-1, 1, 1, head_dim});
  const auto out = turned * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
  return at::cat({out, split.narrow(1, 2, 1)}, 1).view(qkv.sizes());
}

at::Tensor embedding(const at::Tensor& table, const at::Tensor& index, const Rows&) { return table.index_select(0, index); }

at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& mean, const at::Tensor& var, double eps) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[1] = x.size(1);
  const auto scale = weight * (var + eps).rsqrt();
  return x * scale.view(shape) + (bias - mean * scale).view(shape);
}

namespace {

// PyTorch's attention of bfloat16 takes longer for short sequences than that of float32: 4.1 ms against 1.4 for 16 of 50 tokens, 26 against 17 for 16 of 197,
// and 129 against 177 for 8 of 512, forward and back. Seen on AMD; elsewhere PyTorch's choice stands.
constexpr std::int64_t kShort = 256;

bool better_widened(const at::Tensor& qkv, const Layout& layout) {
  static const bool amd = is_amd_with_avx512();
  return amd && qkv.is_cpu() && qkv.scalar_type() == at::kBFloat16 &&
         std::all_of(layout.begin(), layout.end(), [](const Run& run) { return run.length <= kShort; });
}

}  // namespace

at::Tensor attention(const at::Tensor& qkv, const Rows& rows, std::int64_t heads) {
  const auto& layout = rows.layout();
  if (better_widened(qkv, layout)) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::DispatchKey::AutocastCPU);  // which would narrow it again
    return attention(qkv.to(at::kFloat), rows, heads).to(at::kBFloat16);
  }
  const std::int64_t dim = qkv.size(-1) / 3, head_dim = dim / heads;
  std::vector<at::Tensor> parts;
  parts.reserve(layout.size());
  for (const auto& run : layout) {
    const auto own = layout.size() == 1 ? qkv : qkv.narrow(0, run.first_row, run.count * run.length);
    const auto split = own.view({run.count, run.length, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});  // [3, b, h, n, d]
    const auto out = at::scaled_dot_product_attention(split[0], split[1], split[2]);                    // [b, h, n, d]
    parts.push_back(out.transpose(1, 2).reshape({run.count * run.length, dim}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

namespace {

// Permutations that bring an axis to the front, and from there back: ONNX has them for tensors of any rank.
std::vector<std::int64_t> axis_first(std::int64_t rank, std::int64_t axis) {
  std::vector<std::int64_t> order{axis};
  for (std::int64_t other = 0; other < rank; ++other)
    if (other != axis) order.push_back(other);
  return order;
}

std::vector<std::int64_t> axis_back(std::int64_t rank, std::int64_t axis) {
  std::vector<std::int64_t> order;
  for (std::int64_t other = 1; other < rank; ++other) order.push_back(other);
  order.insert(order.begin() + axis, 0);
  return order;
}

// [extent, extent, head_dim]: the table's row for each query and key along one axis.
at::Tensor relative_rows(const at::Tensor& table, std::int64_t extent) {
  const auto length = 2 * extent - 1;
  auto rows = table;
  if (table.size(0) != length) rows = at::upsample_linear1d(table.t().unsqueeze(0), {length}, /*align_corners=*/false)[0].t();
  const auto at = at::arange(extent, table.options().dtype(at::kLong).requires_grad(false));
  return rows.index_select(0, (at.unsqueeze(1) - at.unsqueeze(0) + (extent - 1)).flatten()).view({extent, extent, -1});
}

}  // namespace

at::Tensor relative_attention(const at::Tensor& qkv, const std::vector<at::Tensor>& tables, const std::vector<std::int64_t>& extents, const Rows&,
                              std::int64_t heads) {
  const auto windows = qkv.size(0), cells = qkv.size(1), dim = qkv.size(2) / 3, head_dim = dim / heads;
  const auto rank = static_cast<std::int64_t>(extents.size());
  const auto split = qkv.view({windows, cells, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});  // [3, b, h, n, d]
  std::vector<std::int64_t> placed{windows * heads};
  placed.insert(placed.end(), extents.begin(), extents.end());
  placed.push_back(head_dim);
  const auto query = split[0].reshape(placed);
  at::Tensor bias;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    const auto extent = extents[static_cast<std::size_t>(axis)];
    const auto moved = query.permute(axis_first(query.dim(), axis + 1));  // [extent, b·h, others…, d]
    const auto rows = relative_rows(tables[static_cast<std::size_t>(axis)], extent).to(query.scalar_type());
    auto shape = moved.sizes().vec();
    shape.back() = extent;
    auto part = at::bmm(moved.reshape({extent, -1, head_dim}), rows.transpose(1, 2)).view(shape).permute(axis_back(query.dim(), axis + 1));
    for (std::int64_t other = 0; other < rank; ++other)  // keys along the other axes
      if (other != axis) part = part.unsqueeze(other < axis ? 1 + rank + other : -1);
    bias = bias.defined() ? bias + part : part;
  }
  bias = bias.reshape({windows, heads, cells, cells});
  const auto out = at::scaled_dot_product_attention(split[0], split[1], split[2], bias);
  return out.transpose(1, 2).reshape({windows, cells, dim});
}

at::Tensor biased_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& bias, const at::Tensor& regions, const Rows&) {
  if (takes_windows(qkv, bias)) return window_attention(qkv, heads, bias, regions);
  const std::int64_t windows = qkv.size(0), cells = qkv.size(1), dim = qkv.size(2) / 3, head_dim = dim / heads;
  const auto split = qkv.view({windows, cells, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});  // [3, w, h, n, d]
  auto mask = bias.unsqueeze(0);                                                               // [1 or w, h, n, n]
  if (regions.defined()) {
    at::Tensor apart;  // [windows of a sample, n, n]
    {
      const at::tracer::impl::NoTracerDispatchMode constant;
      apart = regions.unsqueeze(1).ne(regions.unsqueeze(2)).to(bias.scalar_type()).mul_(-100);
    }
    mask = (mask + apart.unsqueeze(1)).repeat({windows / regions.size(0), 1, 1, 1});
  }
  return at::scaled_dot_product_attention(split[0], split[1], split[2], mask).transpose(1, 2).reshape({windows, cells, dim});
}

at::Tensor query_attention(const at::Tensor& query, const at::Tensor& kv, const Rows& rows, std::int64_t heads) {
  const std::int64_t dim = kv.size(-1) / 2, head_dim = dim / heads;
  const auto q = query.view({1, heads, 1, head_dim});
  std::vector<at::Tensor> parts;
  for (const auto& run : rows.layout()) {
    const auto own = kv.narrow(0, run.first_row, run.count * run.length);
    const auto split = own.view({run.count, run.length, 2, heads, head_dim}).permute({2, 0, 3, 1, 4});                 // [2, b, h, n, d]
    const auto out = at::scaled_dot_product_attention(q.expand({run.count, heads, 1, head_dim}), split[0], split[1]);  // [b, h, 1, d]
    parts.push_back(out.reshape({run.count, dim}));
  }
  return at::cat(parts);
}

}  // namespace sslmed::nn
