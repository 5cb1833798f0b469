#include "nn/window_attention.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/TracerMode.h>
#include <ATen/autocast_mode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kScores = 1 << 17;  // numbers that are worked on at once: half a megabyte of float32
constexpr std::int64_t kGroups = 16;       // of chunks, each with its own sum of the bias' gradient: sums do not depend on the number of threads

struct WindowPlan {
  std::int64_t windows, cells, heads, width, chunk, chunks;
  double scale;
};

WindowPlan plan_of(const at::Tensor& qkv, std::int64_t heads) {
  WindowPlan plan{qkv.size(0), qkv.size(1), heads, qkv.size(2) / (3 * heads), 1, 1, 1};
  plan.chunk = std::clamp<std::int64_t>(kScores / (heads * plan.cells * plan.cells), 1, std::max<std::int64_t>(plan.windows, 1));
  plan.chunks = (plan.windows + plan.chunk - 1) / plan.chunk;
  plan.scale = 1 / std::sqrt(static_cast<double>(plan.width));
  return plan;
}

// For every window of a sample whether it has several regions: without, no score is changed.
std::vector<bool> divided_windows(const at::Tensor& regions) {
  if (!regions.defined()) return {};
  const auto several = regions.ne(regions.narrow(1, 0, 1)).any(1).contiguous();
  const auto* first = several.const_data_ptr<bool>();
  return std::vector<bool>(first, first + several.numel());
}

// One chunk: q, k, v [chunk · heads, N, d] and the attention's weights [chunk · heads, N, N].
struct Chunk {
  Chunk(const WindowPlan& plan, const at::Tensor& qkv, const at::Tensor& bias, const at::Tensor& regions, const std::vector<bool>& divided, std::int64_t number)
      : first(number * plan.chunk), count(std::min(plan.chunk, plan.windows - first)) {
    parts = qkv.narrow(0, first, count).view({count, plan.cells, 3, plan.heads, plan.width}).permute({2, 0, 3, 1, 4}).contiguous();
    parts = parts.view({3, count * plan.heads, plan.cells, plan.width});
    auto scores = bias.expand({count, plan.heads, plan.cells, plan.cells}).clone(at::MemoryFormat::Contiguous);
    scores.view({count * plan.heads, plan.cells, plan.cells}).baddbmm_(parts[0], parts[1].transpose(1, 2), 1, plan.scale);
    for (std::int64_t i = 0; i < count && !divided.empty(); ++i) {
      const auto window = (first + i) % static_cast<std::int64_t>(divided.size());
      if (!divided[static_cast<std::size_t>(window)]) continue;
      const auto own = regions[window];
      scores[i].sub_(own.unsqueeze(1).ne(own).to(scores.scalar_type()), 100);
    }
    weights = at::softmax(scores, -1).view({count * plan.heads, plan.cells, plan.cells});
  }
  std::int64_t first, count;
  at::Tensor parts, weights;
};

// [chunk · heads, N, d] as [chunk, N, heads · d].
at::Tensor joined_heads(const WindowPlan& plan, const at::Tensor& x, std::int64_t count) {
  return x.view({count, plan.heads, plan.cells, plan.width}).transpose(1, 2);
}

void for_each_group(std::int64_t chunks, const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& work) {
  const auto groups = std::min(kGroups, chunks);
  // At least two, because a single one would not be in a parallel region, and its products would take all threads, which
  // may round in another order.
  at::parallel_for(0, std::max<std::int64_t>(groups, 2), 1, [&](std::int64_t begin, std::int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView guard;  // of this thread
    for (auto group = begin; group < std::min(end, groups); ++group) work(group, group * chunks / groups, (group + 1) * chunks / groups);
  });
}

class WindowAttention : public torch::autograd::Function<WindowAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& qkv, std::int64_t heads, const at::Tensor& bias,
                            const std::optional<at::Tensor>& regions) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const auto rows = qkv.contiguous(), table = bias.contiguous();
    const auto labels = regions.value_or(at::Tensor());
    context->save_for_backward({rows, table, labels});
    context->saved_data["heads"] = heads;
    const auto plan = plan_of(rows, heads);
    const auto divided = divided_windows(labels);
    auto out = at::empty({plan.windows, plan.cells, heads * plan.width}, rows.options());
    for_each_group(plan.chunks, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) {
        const Chunk chunk(plan, rows, table, labels, divided, i);
        auto to = out.narrow(0, chunk.first, chunk.count).view({chunk.count, plan.cells, heads, plan.width});
        to.copy_(joined_heads(plan, at::bmm(chunk.weights, chunk.parts[2]), chunk.count));
      }
    });
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    TORCH_CHECK(!grads[0].requires_grad(), "attention in windows can be differentiated only once (create_graph=True is not supported)");
    const at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = context->get_saved_variables();
    const at::Tensor &qkv = saved[0], &bias = saved[1], &regions = saved[2], grad = grads[0].contiguous();
    const auto plan = plan_of(qkv, context->saved_data["heads"].toInt());
    const auto divided = divided_windows(regions);
    auto to_qkv = at::empty_like(qkv);
    const auto sums = at::zeros({std::min(kGroups, plan.chunks), plan.heads, plan.cells, plan.cells}, bias.options());
    for_each_group(plan.chunks, [&](std::int64_t group, std::int64_t begin, std::int64_t end) {
      auto sum = sums[group];
      for (auto i = begin; i < end; ++i) backward_of(plan, Chunk(plan, qkv, bias, regions, divided, i), grad, to_qkv, sum);
    });
    return {to_qkv, {}, sums.sum(0), {}};
  }

 private:
  static void backward_of(const WindowPlan& plan, const Chunk& chunk, const at::Tensor& grad, const at::Tensor& to_qkv, at::Tensor& sum) {
    const auto& weights = chunk.weights;
    auto to_out = grad.narrow(0, chunk.first, chunk.count).view({chunk.count, plan.cells, plan.heads, plan.width}).transpose(1, 2).contiguous();
    to_out = to_out.view({chunk.count * plan.heads, plan.cells, plan.width});
    const auto to_weights = at::bmm(to_out, chunk.parts[2].transpose(1, 2));
    const auto to_scores = at::_softmax_backward_data(to_weights, weights, -1, weights.scalar_type());
    const auto target = to_qkv.narrow(0, chunk.first, chunk.count).view({chunk.count, plan.cells, 3, plan.heads, plan.width});
    const auto put = [&](std::int64_t which, const at::Tensor& x) { target.select(2, which).copy_(joined_heads(plan, x, chunk.count)); };
    put(0, at::bmm(to_scores, chunk.parts[1]).mul_(plan.scale));
    put(1, at::bmm(to_scores.transpose(1, 2), chunk.parts[0]).mul_(plan.scale));
    put(2, at::bmm(weights.transpose(1, 2), to_out));
    sum.add_(to_scores.view({chunk.count, plan.heads, plan.cells, plan.cells}).sum(0));
  }
};

}  // namespace

bool takes_windows(const at::Tensor& qkv, const at::Tensor& bias) {
  if (at::tracer::impl::is_dispatch_enabled()) return false;  // a trace would miss what is written into memory
  const auto type = qkv.scalar_type();
  return qkv.is_cpu() && (type == at::kFloat || type == at::kDouble) && bias.scalar_type() == type && !at::autocast::is_autocast_enabled(at::kCPU);
}

at::Tensor window_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& bias, const at::Tensor& regions) {
  return WindowAttention::apply(qkv, heads, bias, regions.defined() ? std::optional(regions) : std::nullopt);
}

}  // namespace sslmed::nn
