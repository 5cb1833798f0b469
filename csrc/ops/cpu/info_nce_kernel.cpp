// Each thread takes blocks of rows, and for each of them the others tile by tile: a product of matrices into a buffer that stays in cache, and a pass over
// it. No thread writes another's rows, so that the result does not depend on their number.

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cpu/exp_rows.h"
#include "ops/info_nce.h"

namespace sslmed::ops {
namespace {

constexpr std::int64_t kTileColumns = 1024;

// Rows of a block: few where there are few, so that threads share them. It follows from their number alone.
std::int64_t rows_of_block(std::int64_t rows) { return std::clamp<std::int64_t>((rows + 3) / 4, 16, 128); }

// Threads of the pool know neither that gradients are off here nor that autocast is.
struct PlainTensors {
  at::AutoDispatchBelowADInplaceOrView below;
  c10::impl::ExcludeDispatchKeyGuard exact{c10::autocast_dispatch_keyset};
};

const std::int64_t* indices_of(const std::optional<at::Tensor>& indices) { return indices ? indices->const_data_ptr<std::int64_t>() : nullptr; }

// visit(first row, rows, first column, columns, tile) with tile = rows . columns', for all tiles of blocks of rows; done(first row, rows) after a block.
template <class Visit, class Done>
void for_tiles(const at::Tensor& rows, const at::Tensor& columns, Visit&& visit, Done&& done) {
  const std::int64_t n = rows.size(0), m = columns.size(0), most = rows_of_block(n), blocks = (n + most - 1) / most;
  // A single block would be worked on outside of a parallel region, where a product takes all threads and rounds in
  // another order. So there are at least two, of which the second may be empty.
  at::parallel_for(0, std::max<std::int64_t>(blocks, 2), 1, [&](std::int64_t first, std::int64_t last) {
    const PlainTensors guard;
    auto buffer = at::empty({most * std::min(kTileColumns, m)}, rows.options());
    for (std::int64_t block = first; block < std::min(last, blocks); ++block) {
      const std::int64_t row = block * most, count = std::min(most, n - row);
      const auto own = rows.narrow(0, row, count);
      for (std::int64_t column = 0; column < m; column += kTileColumns) {
        const std::int64_t width = std::min(kTileColumns, m - column);
        auto tile = buffer.narrow(0, 0, count * width).view({count, width});
        at::mm_out(tile, own, columns.narrow(0, column, width).t());
        visit(row, count, column, width, tile);
      }
      done(row, count);
    }
  });
}

template <class T>
void forward_rows(const at::Tensor& queries, const at::Tensor& keys, const std::int64_t* positive, const std::int64_t* own, bool among_themselves, T scale,
                  at::Tensor& losses, at::Tensor& lse) {
  T *loss = losses.mutable_data_ptr<T>(), *peak = lse.mutable_data_ptr<T>();  // the largest logit until a block is done
  auto sums = at::zeros_like(lse);
  T* sum = sums.mutable_data_ptr<T>();
  const auto visit = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns, const at::Tensor& tile) {
    for (std::int64_t i = 0; i < rows; ++i) {
      T* logits = tile.mutable_data_ptr<T>() + i * columns;
      const std::int64_t r = row + i, self = (among_themselves ? r : own != nullptr ? own[r] : -1) - column, right = positive[r] - column;
      if (right >= 0 && right < columns) loss[r] = -scale * logits[right];
      if (self >= 0 && self < columns) logits[self] = -std::numeric_limits<T>::infinity();
      const T before = peak[r], now = std::max(before, scale * cpu::max_of(logits, columns));
      if (now == -std::numeric_limits<T>::infinity()) continue;  // nothing but the row itself
      peak[r] = now;
      sum[r] = sum[r] * std::exp(before - now) + cpu::exp_sum(logits, columns, scale, now);
    }
  };
  const auto done = [&](std::int64_t row, std::int64_t rows) {
    for (std::int64_t r = row; r < row + rows; ++r) {
      peak[r] += std::log(sum[r]);
      loss[r] += peak[r];
    }
  };
  for_tiles(queries, keys, visit, done);
}

std::tuple<at::Tensor, at::Tensor> info_nce_forward(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive,
                                                    const std::optional<at::Tensor>& own, double temperature) {
  check_info_nce(queries, keys, positive, own, temperature);
  const auto q = queries.contiguous(), k = keys ? keys->contiguous() : q, right = positive.contiguous();
  const auto self = own ? std::optional(own->contiguous()) : std::nullopt;
  auto losses = at::zeros({q.size(0)}, q.options()), lse = at::full({q.size(0)}, -std::numeric_limits<double>::infinity(), q.options());
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "info_nce", [&] {
    forward_rows<scalar_t>(q, k, indices_of(right), indices_of(self), !keys, static_cast<scalar_t>(1 / temperature), losses, lse);
  });
  return {losses, lse};
}

// What a tile's products become for the gradients of the rows: the softmax of the rows' own logits, weighed by their gradients, or of the columns', or both.
enum class Side { kRows, kColumns, kBoth };

template <class T>
struct Softmax {
  const T *grad, *lse;       // [R] of the queries; grad divided by the temperature
  const std::int64_t* self;  // [R] or null
};

// into [n, D] = the gradients of `rows`, but for what positive pairs add.
template <class T>
void backward_rows(const at::Tensor& rows, const at::Tensor& columns, Side side, const Softmax<T>& softmax, bool among_themselves, T scale, at::Tensor& into) {
  const auto visit = [&](std::int64_t row, std::int64_t count, std::int64_t column, std::int64_t width, const at::Tensor& tile) {
    for (std::int64_t i = 0; i < count; ++i) {
      T* x = tile.mutable_data_ptr<T>() + i * width;
      const std::int64_t r = row + i;
      const T *grads = softmax.grad + column, *lses = softmax.lse + column;
      if (side == Side::kRows) {
        cpu::exp_into(x, width, scale, softmax.lse[r], softmax.grad[r], x);
      } else if (side == Side::kColumns) {
        cpu::exps_into(x, width, scale, lses, grads, x);
      } else {
        cpu::two_exps_into(x, width, scale, softmax.lse[r], softmax.grad[r], lses, grads, x);
      }
      if (among_themselves) {
        if (r >= column && r < column + width) x[r - column] = 0;
      } else if (softmax.self != nullptr && side == Side::kRows) {
        if (const auto self = softmax.self[r] - column; self >= 0 && self < width) x[self] = 0;
      } else if (softmax.self != nullptr) {
        for (std::int64_t j = 0; j < width; ++j) x[j] = softmax.self[column + j] == r ? T(0) : x[j];
      }
    }
    auto own = into.narrow(0, row, count);
    at::addmm_out(own, own, tile, columns.narrow(0, column, width));
  };
  for_tiles(rows, columns, visit, [](std::int64_t, std::int64_t) {});
}

std::tuple<at::Tensor, at::Tensor> info_nce_gradients(const at::Tensor& grad, const at::Tensor& queries, const std::optional<at::Tensor>& keys,
                                                      const at::Tensor& positive, const std::optional<at::Tensor>& own, const at::Tensor& lse,
                                                      double temperature, bool wants_keys) {
  const auto q = queries.contiguous(), k = keys ? keys->contiguous() : q, right = positive.contiguous(), sums = lse.contiguous();
  const auto self = own ? std::optional(own->contiguous()) : std::nullopt;
  const auto g = (grad / temperature).contiguous();
  auto of_queries = at::zeros_like(q), of_keys = keys && wants_keys ? at::zeros_like(k) : at::Tensor();
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "info_nce_backward", [&] {
    const Softmax<scalar_t> softmax{g.const_data_ptr<scalar_t>(), sums.const_data_ptr<scalar_t>(), indices_of(self)};
    const auto scale = static_cast<scalar_t>(1 / temperature);
    backward_rows(q, k, keys ? Side::kRows : Side::kBoth, softmax, !keys, scale, of_queries);
    if (of_keys.defined()) backward_rows(k, q, Side::kColumns, softmax, false, scale, of_keys);
  });
  of_queries.sub_(k.index_select(0, right) * g.unsqueeze(1));
  auto& others = keys ? of_keys : of_queries;
  if (others.defined()) others.index_add_(0, right, q * g.unsqueeze(1), -1);
  return {of_queries, of_keys};
}

}  // namespace
}  // namespace sslmed::ops

TORCH_LIBRARY_IMPL(sslmed, CPU, m) {
  m.impl("info_nce", sslmed::ops::info_nce_forward);
  m.impl("info_nce_backward", sslmed::ops::info_nce_gradients);
}
