#include "nn/windows.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/TracerMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstring>
#include <functional>
#include <numeric>

namespace sslmed::nn {
namespace {

// What depends on sizes alone is a constant of a traced network, which would miss what is written into it.
using Constant = at::tracer::impl::NoTracerDispatchMode;

template <class Make>
at::Tensor constant(const Make& make) {
  const Constant guard;
  return make();
}

at::Tensor rows_by_operators(const at::Tensor& x, const at::Tensor& index) {
  at::Tensor rows, absent;
  {
    const Constant guard;
    rows = index.clamp_min(0), absent = index.lt(0).unsqueeze(1);
  }
  return x.index_select(1, rows).masked_fill(absent, 0);
}

at::Tensor copied_rows(const at::Tensor& x, const at::Tensor& index) {
  const auto batch = x.size(0), rows = x.size(1), slots = index.size(0);
  if (!x.is_cpu()) return rows_by_operators(x, index);
  const auto source = x.contiguous();
  auto out = at::empty({batch, slots, x.size(2)}, x.options());
  const auto bytes = static_cast<std::size_t>(x.size(2)) * x.element_size();
  const auto* from = static_cast<const char*>(source.const_data_ptr());
  auto* to = static_cast<char*>(out.mutable_data_ptr());
  const auto* which = index.const_data_ptr<std::int64_t>();
  at::parallel_for(0, batch * slots, 512, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      const auto row = which[i % slots];
      auto* target = to + static_cast<std::size_t>(i) * bytes;
      if (row < 0) {
        std::memset(target, 0, bytes);
      } else {
        std::memcpy(target, from + static_cast<std::size_t>(i / slots * rows + row) * bytes, bytes);
      }
    }
  });
  return out;
}

class GatherRows : public torch::autograd::Function<GatherRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& index, const at::Tensor& inverse) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({index, inverse});
    return copied_rows(x, index);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    const auto saved = context->get_saved_variables();
    return {gather_rows(grads[0], saved[1], saved[0]), {}, {}};
  }
};

// Calls `visit(coordinates)` for every cell, the last axis fastest.
template <class Visit>
void for_each_cell(const Grid& grid, Visit visit) {
  Grid at(grid.size(), 0);
  for (auto left = cells_of(grid); left > 0; --left) {
    visit(at);
    for (auto axis = grid.size(); axis-- > 0;) {
      if (++at[axis] < grid[axis]) break;
      at[axis] = 0;
    }
  }
}

std::vector<std::int64_t> merging_order(Merging order, std::size_t rank) {  // bit `rank - 1 - axis` of a number: the cell along that axis
  if (rank == 3 && order == Merging::kMonai) return {0, 4, 2, 1, 6, 5, 3, 7};
  if (rank == 3 && order == Merging::kMonaiLegacy) return {0, 4, 2, 1, 5, 2, 1, 7};
  if (rank == 3 && order == Merging::kMergingV2) return {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < std::int64_t{1} << rank; ++i) {
    std::int64_t reversed = 0;
    for (std::size_t bit = 0; bit < rank; ++bit) reversed |= ((i >> bit) & 1) << (rank - 1 - bit);
    out.push_back(reversed);
  }
  return out;
}

at::Tensor inverse_of(const at::Tensor& index, std::int64_t rows) {
  const Constant guard;
  auto out = at::full({rows}, -1, at::kLong);
  auto* to = out.mutable_data_ptr<std::int64_t>();
  const auto* from = index.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < index.size(0); ++i)
    if (from[i] >= 0) to[from[i]] = i;
  return out;
}

}  // namespace

std::int64_t cells_of(const Grid& grid) { return std::accumulate(grid.begin(), grid.end(), std::int64_t{1}, std::multiplies<>()); }

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& inverse) {
  return at::tracer::impl::is_dispatch_enabled() ? rows_by_operators(x, index) : GatherRows::apply(x, index, inverse);
}

Windows::Windows(const Grid& grid, const Grid& size, const Grid& shift, WindowPadding padding) : window(size) {
  const Constant guard;
  const auto rank = grid.size();
  Grid counts(rank), both(2 * rank);
  bool shifted = false;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    counts[axis] = (grid[axis] + window[axis] - 1) / window[axis];
    both[axis] = counts[axis], both[rank + axis] = window[axis];
    shifted = shifted || shift[axis] > 0;
  }
  count = cells_of(counts);
  const auto inside = cells_of(window);
  slots = at::empty({count * inside}, at::kLong);
  auto* slot = slots.mutable_data_ptr<std::int64_t>();
  if (shifted) regions = at::empty({count, inside}, at::kLong);
  auto* region = shifted ? regions.mutable_data_ptr<std::int64_t>() : nullptr;
  for_each_cell(both, [&](const Grid& at) {
    std::int64_t cell = 0, label = 0;
    bool padded = false;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const auto extent = counts[axis] * window[axis], place = at[axis] * window[axis] + at[rank + axis];
      if (padding == WindowPadding::kRollFirst) padded = padded || place >= grid[axis];
      const auto source = (place + shift[axis]) % (padding == WindowPadding::kRollFirst ? grid[axis] : extent);
      padded = padded || source >= grid[axis];
      cell = cell * grid[axis] + source;
      const bool rolled = shift[axis] > 0;
      label = 3 * label + (rolled && place >= extent - window[axis] ? 1 : 0) + (rolled && place >= extent - shift[axis] ? 1 : 0);
    }
    *slot++ = padded ? -1 : cell;
    if (region != nullptr) *region++ = label;
  });
  cells = inverse_of(slots, cells_of(grid));
}

at::Tensor relative_index(const Grid& window, const Grid& full, bool first_rows) {
  const Constant guard;
  const auto cells = cells_of(window);
  std::vector<Grid> places;
  for_each_cell(first_rows ? full : window, [&](const Grid& at) { places.push_back(at); });
  auto out = at::empty({cells, cells}, at::kLong);
  auto* row = out.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < cells; ++i) {
    for (std::int64_t j = 0; j < cells; ++j) {
      const auto &a = places[static_cast<std::size_t>(i)], &b = places[static_cast<std::size_t>(j)];
      std::int64_t place = 0;
      for (std::size_t axis = 0; axis < full.size(); ++axis) place = place * (2 * full[axis] - 1) + a[axis] - b[axis] + full[axis] - 1;
      *row++ = place;
    }
  }
  return out;
}

at::Tensor merge_neighbors(const at::Tensor& x, Grid& grid, Merging order) {
  const auto rank = grid.size();
  const auto octants = merging_order(order, rank);
  const bool repeats = rank == 3 && order == Merging::kMonaiLegacy;
  const auto each = static_cast<std::int64_t>(octants.size());
  Grid half(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) half[axis] = (grid[axis] + 1) / 2;
  auto index = constant([&] { return at::empty({cells_of(half) * each}, at::kLong); });
  auto* to = index.mutable_data_ptr<std::int64_t>();
  for_each_cell(half, [&](const Grid& at) {
    for (std::int64_t i = 0; i < each; ++i) {
      const auto octant = repeats ? i : octants[static_cast<std::size_t>(i)];
      std::int64_t cell = 0;
      bool padded = false;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        const auto place = 2 * at[axis] + ((octant >> (rank - 1 - axis)) & 1);
        padded = padded || place >= grid[axis];
        cell = cell * grid[axis] + place;
      }
      *to++ = padded ? -1 : cell;
    }
  });
  const auto moved = [&](const auto& make) { return constant([&] { return make().to(x.device()); }); };
  auto out = gather_rows(x, moved([&] { return index; }), moved([&] { return inverse_of(index, x.size(1)); }));
  if (repeats) out = out.view({x.size(0), -1, each, x.size(2)}).index_select(2, moved([&] { return at::tensor(octants, at::kLong); }));
  grid = std::move(half);
  return out.view({x.size(0), -1, each * x.size(2)});
}

}  // namespace sslmed::nn
