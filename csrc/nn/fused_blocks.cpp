#include "nn/fused_blocks.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/TracerMode.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "ops/cpu/direct_conv.h"

namespace sslmed::nn {
namespace {

using ops::cpu::ConvPart;
using ops::cpu::ConvPlan;
using ops::cpu::Moments;

constexpr double kFusedEps = 1e-5;
constexpr std::int64_t kFewChannels = 32;  // with more of them libraries fill their registers as well
constexpr std::int64_t kRegister = 16;     // cells of a register
constexpr double kFilled = 0.7;            // share of the registers' cells that rows should have

bool is_plain(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.layout() == at::kStrided && !at::GradMode::is_enabled() && !at::tracer::impl::is_dispatch_enabled() &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

// The last three of sizes, with 1 for those that are missing.
std::array<std::int64_t, 3> three_axes(at::IntArrayRef spatial) {
  std::array<std::int64_t, 3> out{1, 1, 1};
  std::copy(spatial.begin(), spatial.end(), out.begin() + static_cast<std::ptrdiff_t>(3 - spatial.size()));
  return out;
}

// Maps [B, C, spatial…] before their norm, which is x · scale + shift, [B, C] each.
struct Unscaled {
  at::Tensor maps, scale, shift;
};

// The scale and shift of a norm from the moments of planes, [B, C, D].
Unscaled with_norm(at::Tensor maps, const std::vector<Moments>& moments, std::int64_t planes, const FusedConv& norm) {
  const auto batch = maps.size(0), channels = maps.size(1), each = channels / norm.groups;
  auto scale = at::empty({batch, channels}, maps.options()), shift = at::empty_like(scale);
  const auto weight = norm.scale.contiguous(), bias = norm.shift.contiguous();
  for (std::int64_t first = 0; first < batch * channels; first += each) {
    Moments group;
    for (auto plane = first * planes; plane < (first + each) * planes; ++plane) group.join(moments[static_cast<std::size_t>(plane)]);
    const auto inverse = 1 / std::sqrt(group.squares / group.count + kFusedEps);
    for (auto i = first; i < first + each; ++i) {
      const auto c = i % channels;
      const auto factor = static_cast<double>(weight.const_data_ptr<float>()[c]) * inverse;
      scale.data_ptr<float>()[i] = static_cast<float>(factor);
      shift.data_ptr<float>()[i] = static_cast<float>(bias.const_data_ptr<float>()[c] - group.mean * factor);
    }
  }
  return {std::move(maps), std::move(scale), std::move(shift)};
}

// The convolution of parts of an input, each as it is or with its norm and leaky ReLU first.
Unscaled convolved(const std::vector<Unscaled>& parts, const FusedConv& conv, double slope) {
  const auto spatial = parts[0].maps.sizes().slice(2);
  ConvPlan plan{0, conv.weight.size(0), three_axes(spatial), three_axes(conv.weight.sizes().slice(2)), static_cast<float>(slope)};
  const auto batch = parts[0].maps.size(0), planes = plan.size[0];
  for (const auto& part : parts) plan.in += part.maps.size(1);
  std::vector<std::int64_t> shape{batch, plan.out};
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  auto out = at::empty(shape, parts[0].maps.options().memory_format(at::MemoryFormat::Contiguous));
  const auto kernel = conv.weight.contiguous();
  const auto weights = ops::cpu::direct_conv_weights(kernel.const_data_ptr<float>(), plan);
  std::vector<Moments> moments(static_cast<std::size_t>(batch * plan.out * planes));
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<ConvPart> inputs;
    for (const auto& [maps, scale, shift] : parts) {
      const auto channels = maps.size(1);
      const auto* scales = scale.defined() ? scale.const_data_ptr<float>() + b * channels : nullptr;
      inputs.push_back({maps.const_data_ptr<float>() + b * channels * plan.cells(), channels, scales,
                        scale.defined() ? shift.const_data_ptr<float>() + b * channels : nullptr});
    }
    // Each thread loads the neighbors of its planes once more: few large shares.
    at::parallel_for(0, planes, (planes + at::get_num_threads() - 1) / at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
      ops::cpu::direct_conv(inputs, plan, weights.data(), out.data_ptr<float>() + b * plan.out * plan.cells(), moments.data() + b * plan.out * planes, begin,
                            end);
    });
  }
  return with_norm(std::move(out), moments, planes, conv);
}

at::Tensor second_half(const Unscaled& maps, const FusedConv& second, double slope) {
  const auto [out, scale, shift] = convolved({maps}, second, slope);
  const auto cells = out.numel() / (out.size(0) * out.size(1));
  at::parallel_for(0, out.size(0) * out.size(1), 1, [&, &maps = out, &scales = scale, &shifts = shift](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i)
      ops::cpu::scale_shift_relu(maps.data_ptr<float>() + i * cells, cells, scales.const_data_ptr<float>()[i], shifts.const_data_ptr<float>()[i],
                                 static_cast<float>(slope));
  });
  return out;
}

}  // namespace

bool convolves_directly(const std::vector<at::Tensor>& parts, const at::Tensor& weight, const std::vector<std::int64_t>& stride) {
  if (!ops::cpu::has_direct_conv() || weight.dim() < 4 || weight.dim() > 5 || weight.size(0) > kFewChannels) return false;
  for (const auto step : stride)
    if (step != 1) return false;
  for (const auto cells : weight.sizes().slice(2))
    if (cells != 1 && cells != 3) return false;
  for (const auto& part : parts)
    if (!is_plain(part) || !is_plain(weight) || part.dim() != weight.dim() || part.numel() == 0) return false;
  const auto row = parts[0].size(-1);
  return static_cast<double>(row) >= kFilled * static_cast<double>((row + kRegister - 1) / kRegister * kRegister);
}

at::Tensor fused_block(const std::vector<at::Tensor>& parts, const FusedConv& first, const FusedConv& second, double slope) {
  std::vector<Unscaled> inputs;
  for (const auto& part : parts) inputs.push_back({part.contiguous(), {}, {}});
  return second_half(convolved(inputs, first, slope), second, slope);
}

at::Tensor fused_block_of(const at::Tensor& maps, const FusedConv& first, const FusedConv& second, double slope) {
  const auto own = maps.contiguous();
  const auto size = three_axes(own.sizes().slice(2));
  std::vector<Moments> moments(static_cast<std::size_t>(own.size(0) * own.size(1) * size[0]));
  at::parallel_for(0, own.size(0) * own.size(1), 1,
                   [&](std::int64_t begin, std::int64_t end) { ops::cpu::plane_moments(own.const_data_ptr<float>(), size, moments.data(), begin, end); });
  return second_half(with_norm(own, moments, size[0], first), second, slope);
}

bool upsamples_directly(const at::Tensor& x, const at::Tensor& weight, const std::vector<std::int64_t>& stride) {
  return is_plain(x) && is_plain(weight) && x.numel() > 0 && weight.sizes().slice(2) == at::IntArrayRef(stride);
}

at::Tensor fused_upsample(const at::Tensor& x, const at::Tensor& weight, const std::vector<std::int64_t>& stride) {
  const auto size = three_axes(x.sizes().slice(2)), step = three_axes(stride);
  const auto batch = x.size(0), out_chans = weight.size(1), taps = step[0] * step[1] * step[2];
  std::vector<std::int64_t> shape{batch, out_chans};
  for (std::size_t axis = 0; axis < stride.size(); ++axis) shape.push_back(x.size(static_cast<std::int64_t>(axis) + 2) * stride[axis]);
  auto out = at::empty(shape, x.options().memory_format(at::MemoryFormat::Contiguous));
  const auto matrix = weight.reshape({weight.size(0), -1}).t();  // [out · taps, in]
  const auto width = size[2] * step[2];
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto product = at::mm(matrix, x[b].reshape({x.size(1), -1}));  // [out, taps, cells]
    const auto* from = product.const_data_ptr<float>();
    float* to = out.data_ptr<float>() + b * out.stride(0);
    at::parallel_for(0, out_chans * size[0], 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto plane = begin; plane < end; ++plane) {
        const auto o = plane / size[0], z = plane % size[0];
        for (std::int64_t kz = 0; kz < step[0]; ++kz)
          for (std::int64_t y = 0; y < size[1]; ++y)
            for (std::int64_t ky = 0; ky < step[1]; ++ky) {
              const auto tap = (o * taps + (kz * step[1] + ky) * step[2]) * size[0] + z;
              float* row = to + (((o * size[0] + z) * step[0] + kz) * size[1] * step[1] + y * step[1] + ky) * width;
              ops::cpu::interleave(from + (tap * size[1] + y) * size[2], size[0] * size[1] * size[2], step[2], size[2], row);
            }
      }
    });
  }
  return out;
}

}  // namespace sslmed::nn
