// A thread takes samples, and all views of each of them: the teacher's rows are read from memory once. Rows are worked on in pieces that stay in the nearest
// cache, so that logits are read once in each pass.

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/cpu/exp_rows.h"
#include "ops/soft_cross_entropy.h"

namespace sslmed::ops {
namespace {

constexpr std::int64_t kPiece = 2048;

// A piece of a row in the type that is computed in: itself, or a copy.
template <class T, class Acc>
const Acc* piece_of(const T* row, std::int64_t n, std::array<Acc, kPiece>& buffer) {
  if constexpr (std::is_same_v<T, Acc>) {
    return row;
  } else {
    for (std::int64_t i = 0; i < n; ++i) buffer[static_cast<std::size_t>(i)] = static_cast<Acc>(row[i]);
    return buffer.data();
  }
}

template <class T, class Acc>
struct CrossEntropyRows {
  const T* logits;
  const Acc *targets, *pairs;
  std::int64_t views, others, rows, n;
  Acc scale;

  const Acc* target(std::int64_t g, std::int64_t r) const { return targets + (g * rows + r) * n; }
  Acc pair(std::int64_t v, std::int64_t g) const { return pairs[v * others + g]; }

  void forward(std::int64_t v, std::int64_t r, Acc& loss, Acc& lse, Acc& mass) const {
    const T* row = logits + (v * rows + r) * n;
    std::array<Acc, kPiece> buffer;
    Acc peak = -std::numeric_limits<Acc>::infinity();
    double sum = 0, product = 0, weight = 0;
    for (std::int64_t start = 0; start < n; start += kPiece) {
      const std::int64_t length = std::min(kPiece, n - start);
      const Acc* x = piece_of<T, Acc>(row + start, length, buffer);
      const Acc now = std::max(peak, scale * cpu::max_of(x, length));
      sum = sum * static_cast<double>(std::exp(peak - now)) + static_cast<double>(cpu::exp_sum(x, length, scale, now));
      peak = now;
      for (std::int64_t g = 0; g < others; ++g) {
        if (pair(v, g) == 0) continue;
        double own_product = 0, own_mass = 0;
        cpu::add_product(x, target(g, r) + start, length, own_product, own_mass);
        product += static_cast<double>(pair(v, g)) * own_product;
        weight += static_cast<double>(pair(v, g)) * own_mass;
      }
    }
    const double total = static_cast<double>(peak) + std::log(sum);
    lse = static_cast<Acc>(total);
    mass = static_cast<Acc>(weight);
    loss = static_cast<Acc>(weight * total - product * static_cast<double>(scale));
  }

  // into = grad * scale * (mass * softmax - sum of weighted targets)
  void backward(std::int64_t v, std::int64_t r, Acc grad, Acc lse, Acc mass, T* into) const {
    const T* row = logits + (v * rows + r) * n;
    std::array<Acc, kPiece> buffer, result;
    for (std::int64_t start = 0; start < n; start += kPiece) {
      const std::int64_t length = std::min(kPiece, n - start);
      Acc* out = result.data();
      if constexpr (std::is_same_v<T, Acc>) out = into + start;
      cpu::exp_into(piece_of<T, Acc>(row + start, length, buffer), length, scale, lse, grad * scale * mass, out);
      for (std::int64_t g = 0; g < others; ++g)
        if (pair(v, g) != 0) cpu::subtract_scaled(target(g, r) + start, length, grad * scale * pair(v, g), out);
      if constexpr (!std::is_same_v<T, Acc>)
        for (std::int64_t i = 0; i < length; ++i) into[start + i] = static_cast<T>(out[i]);
    }
  }
};

template <class T, class Acc>
CrossEntropyRows<T, Acc> rows_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs, double temperature) {
  return {logits.const_data_ptr<T>(),
          targets.const_data_ptr<Acc>(),
          pairs.const_data_ptr<Acc>(),
          logits.size(0),
          targets.size(0),
          logits.size(1),
          logits.size(2),
          static_cast<Acc>(1 / temperature)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_cross_entropy_forward(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                                                          double temperature) {
  check_soft_cross_entropy(logits, targets, pairs, temperature);
  const auto x = logits.contiguous(), t = targets.contiguous(), p = pairs.contiguous();
  auto losses = at::empty({x.size(0), x.size(1)}, t.options()), lse = at::empty_like(losses), mass = at::empty_like(losses);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "soft_cross_entropy", [&] {
    using Acc = at::opmath_type<scalar_t>;
    const auto rows = rows_of<scalar_t, Acc>(x, t, p, temperature);
    Acc *loss = losses.mutable_data_ptr<Acc>(), *sums = lse.mutable_data_ptr<Acc>(), *masses = mass.mutable_data_ptr<Acc>();
    at::parallel_for(0, rows.rows, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r)
        for (std::int64_t v = 0; v < rows.views; ++v) rows.forward(v, r, loss[v * rows.rows + r], sums[v * rows.rows + r], masses[v * rows.rows + r]);
    });
  });
  return {losses, lse, mass};
}

at::Tensor soft_cross_entropy_gradient(const at::Tensor& grad, const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                       const at::Tensor& lse, const at::Tensor& mass, double temperature) {
  const auto x = logits.contiguous(), t = targets.contiguous(), p = pairs.contiguous(), g = grad.contiguous();
  const auto sums = lse.contiguous(), masses = mass.contiguous();
  auto into = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "soft_cross_entropy_backward", [&] {
    using Acc = at::opmath_type<scalar_t>;
    const auto rows = rows_of<scalar_t, Acc>(x, t, p, temperature);
    scalar_t* out = into.mutable_data_ptr<scalar_t>();
    const Acc *own = g.const_data_ptr<Acc>(), *s = sums.const_data_ptr<Acc>(), *m = masses.const_data_ptr<Acc>();
    at::parallel_for(0, rows.rows, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        for (std::int64_t v = 0; v < rows.views; ++v) {
          const std::int64_t i = v * rows.rows + r;
          rows.backward(v, r, own[i], s[i], m[i], out + i * rows.n);
        }
      }
    });
  });
  return into;
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) {
  m.impl("soft_cross_entropy", sslmed::ops::soft_cross_entropy_forward);
  m.impl("soft_cross_entropy_backward", sslmed::ops::soft_cross_entropy_gradient);
}
