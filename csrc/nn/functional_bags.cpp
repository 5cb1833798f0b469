#include "nn/functional_bags.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

#include "nn/functional.h"

namespace sslmed::nn {
namespace {

// Calls f(first row, length, sequence) for each sequence.
template <class F>
void each_sequence(const Rows& rows, const F& f) {
  std::int64_t first = 0;
  for (std::size_t b = 0; b < rows.lengths().size(); ++b) {
    f(first, rows.lengths()[b], b);
    first += rows.lengths()[b];
  }
}

at::Generator generator_of(const at::Device& device, std::uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  auto own = at::globalContext().defaultGenerator(device).clone();
  own.set_current_seed(seed);
  return own;
}

// Runs of consecutive rows whose lengths differ by at most one: the run of each of n rows.
at::Tensor runs_of(std::int64_t n, std::int64_t runs, const at::Device& device) {
  return at::arange(n, at::TensorOptions(at::kLong).device(device)).mul_(runs).floor_divide_(n);
}

// The Moore-Penrose inverse of square matrices [h, m, m] by a series of order three (Razavi et al., 2014).
at::Tensor iterated_inverse(const at::Tensor& x, std::int64_t iterations) {
  const auto size = x.abs();
  auto z = x.transpose(1, 2) / (size.sum(2).max() * size.sum(1).max());
  const auto one = at::eye(x.size(1), x.options().requires_grad(false));
  for (std::int64_t i = 0; i < iterations; ++i) {
    const auto xz = at::bmm(x, z);
    z = 0.25 * at::bmm(z, 13 * one - at::bmm(xz, 15 * one - at::bmm(xz, 7 * one - xz)));
  }
  return z;
}

struct Heads {
  at::Tensor q, k, v;  // [h, n, d]
};

Heads heads_of(const at::Tensor& qkv, std::int64_t heads) {
  const auto dim = qkv.size(1) / 3;
  const auto split = qkv.view({qkv.size(0), 3, heads, dim / heads}).permute({1, 2, 0, 3});
  return {split[0], split[1], split[2]};
}

at::Tensor one_nystrom(const at::Tensor& qkv, std::int64_t heads, std::int64_t landmarks, std::int64_t iterations) {
  const auto n = qkv.size(0), dim = qkv.size(1) / 3;
  auto [q, k, v] = heads_of(qkv, heads);
  q = q / std::sqrt(static_cast<double>(dim / heads));
  const auto run = runs_of(n, landmarks, qkv.device());
  const auto counts = at::bincount(run, {}, landmarks).to(qkv.scalar_type()).unsqueeze(1);
  const auto means = [&](const at::Tensor& x) {
    return at::zeros({heads, landmarks, dim / heads}, x.options().requires_grad(false)).index_add(1, run, x) / counts;
  };
  const auto ql = means(q), kl = means(k);
  const auto left = at::softmax(at::bmm(q, kl.transpose(1, 2)), -1);
  const auto middle = at::softmax(at::bmm(ql, kl.transpose(1, 2)), -1);
  const auto right = at::scaled_dot_product_attention(ql.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), {}, 0, false, 1.0);
  const auto out = at::bmm(at::bmm(left, iterated_inverse(middle, iterations)), right[0]);
  return out.transpose(0, 1).reshape({n, dim});
}

}  // namespace

at::Tensor dropout(const at::Tensor& x, const Dropout& how, std::uint64_t layer, const Rows& rows) {
  if (how.rate == 0 || how.seeds.empty()) return x;
  TORCH_CHECK_VALUE(how.seeds.size() == rows.lengths().size(), "dropout: seeds has ", how.seeds.size(), " entries, expected one for each of ",
                    rows.lengths().size(), " sequences");
  auto keep = at::empty(x.sizes(), x.options().requires_grad(false));
  each_sequence(rows, [&](std::int64_t first, std::int64_t length, std::size_t b) {
    keep.narrow(0, first, length).bernoulli_(1 - how.rate, generator_of(x.device(), how.seeds[b] + layer * 0x9E3779B97F4A7C15ULL));
  });
  return x * keep.mul_(1 / (1 - how.rate));
}

at::Tensor softmax_rows(const at::Tensor& scores, const Rows& rows) {
  std::vector<at::Tensor> parts;
  each_sequence(rows, [&](std::int64_t first, std::int64_t length, std::size_t) { parts.push_back(at::softmax(scores.narrow(0, first, length), 0)); });
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor weighted_sums(const at::Tensor& x, const at::Tensor& weights, const Rows& rows) {
  std::vector<at::Tensor> parts;
  each_sequence(rows, [&](std::int64_t first, std::int64_t length, std::size_t) {
    const auto own = weights.narrow(0, first, length).to(x.scalar_type());
    parts.push_back(at::mm(own.t(), x.narrow(0, first, length)));
  });
  return at::stack(parts);
}

at::Tensor branch_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows&) { return (x * weight).sum(-1) + bias; }

at::Tensor depthwise_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Rows&) {
  return at::conv2d(x, weight, bias, {1, 1}, {weight.size(2) / 2, weight.size(3) / 2}, {1, 1}, x.size(1));
}

at::Tensor nystrom_attention(const at::Tensor& qkv, std::int64_t heads, std::int64_t landmarks, std::int64_t iterations, const Rows& rows) {
  std::vector<at::Tensor> parts;
  each_sequence(rows, [&](std::int64_t first, std::int64_t length, std::size_t) {
    const auto own = qkv.narrow(0, first, length);
    parts.push_back(length <= landmarks ? attention(own, Rows(Lengths{length}), heads) : one_nystrom(own, heads, landmarks, iterations));
  });
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor first_row_attention(const at::Tensor& qkv, std::int64_t heads, const Rows& rows) {
  std::vector<at::Tensor> parts;
  each_sequence(rows, [&](std::int64_t first, std::int64_t length, std::size_t) {
    if (length < 2) return;
    const auto all = heads_of(qkv.narrow(0, first, length), heads);
    const auto scale = 1 / std::sqrt(static_cast<double>(all.q.size(2)));
    const auto scores = at::bmm(all.q.narrow(1, 0, 1) * scale, all.k.narrow(1, 1, length - 1).transpose(1, 2));
    parts.push_back(at::softmax(scores, -1).mean(0).t());
  });
  return at::cat(parts);
}

}  // namespace sslmed::nn
