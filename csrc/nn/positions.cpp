#include "nn/positions.h"

#include <ATen/Functions.h>
#include <ATen/TracerMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kFrequencies = 8;
constexpr double kLongestPeriod = 64, kShortest = 0.5;  // s

// [n, 4] to [n, 4 · 2 · kFrequencies]: sine and cosine of x, y, z over the radius and of t, octave by octave.
at::Tensor fourier(const at::Tensor& coords, double radius) {
  const auto options = coords.options();
  const auto octave = at::arange(kFrequencies, options);
  const auto space = at::pow(2.0, octave) * (std::numbers::pi / 4 / radius);
  const double ratio = std::log(kLongestPeriod / kShortest) / static_cast<double>(kFrequencies - 1);
  const auto time = at::exp(octave * ratio) * (2 * std::numbers::pi / kLongestPeriod);
  const auto known = at::nan_to_num(coords, 0.0);
  const auto angles = known.unsqueeze(-1) * at::stack({space, space, space, time});  // [n, 4, F]
  auto features = at::cat({angles.sin(), angles.cos()}, -1);                         // [n, 4, 2F]
  // A channel without a position gets no spatial features, rather than those of the middle.
  const auto has_position = coords.isfinite().to(options.dtype()).unsqueeze(-1);
  return (features * has_position).flatten(1);
}

// Keys' cubic kernel with a = -0.5, as antialiased resampling has it.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

// [to, from]: weights of a resampling along one axis (half-pixel centres; the kernel is stretched where the result is coarser).
at::Tensor weights_of(std::int64_t from, std::int64_t to) {
  const at::tracer::impl::NoTracerDispatchMode constant;  // a traced network would miss what is written into it
  auto out = at::zeros({to, from}, at::kDouble);
  auto values = out.accessor<double, 2>();
  const double scale = static_cast<double>(from) / static_cast<double>(to), stretch = std::max(scale, 1.0), support = 2 * stretch;
  for (std::int64_t i = 0; i < to; ++i) {
    const double middle = scale * (static_cast<double>(i) + 0.5);
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(middle - support + 0.5), 0);
    const auto last = std::min<std::int64_t>(static_cast<std::int64_t>(middle + support + 0.5), from);
    double total = 0;
    for (auto j = first; j < last; ++j) total += values[i][j] = cubic((static_cast<double>(j) - middle + 0.5) / stretch);
    for (auto j = first; j < last; ++j) values[i][j] /= total;
  }
  return out;
}

std::int64_t product(const std::vector<std::int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()); }

}  // namespace

std::vector<std::int64_t> EmbeddingConfig::grid() const {
  std::vector<std::int64_t> cells;  // none with kCoordinates
  for (std::size_t i = 0; i < img_size.size(); ++i) cells.push_back(img_size[i] / patch_size[i]);
  return cells;
}

at::Tensor resample_positions(const at::Tensor& table, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& to, std::int64_t first) {
  TORCH_CHECK_VALUE(table.dim() == 3 && table.size(0) == 1 && table.size(1) == first + product(grid), "positions of ", product(grid), " cells and ", first,
                    " tokens must be [1, ", first + product(grid), ", D], got ", table.sizes());
  TORCH_CHECK_VALUE(to.size() == grid.size() && product(to) > 0, "a grid of ", at::IntArrayRef(to), " where the table has one of ", at::IntArrayRef(grid));
  if (to == grid) return table;
  const auto dim = table.size(2);
  auto cells = table[0].narrow(0, first, product(grid));
  std::vector<std::int64_t> shape = grid;
  shape.push_back(dim);
  cells = cells.reshape(shape);
  for (std::size_t axis = 0; axis < grid.size(); ++axis) {
    if (grid[axis] == to[axis]) continue;
    const auto weights = weights_of(grid[axis], to[axis]).to(cells.options());
    const auto at = static_cast<std::int64_t>(axis);
    cells = at::tensordot(weights, cells, {1}, {at}).movedim(0, at);
  }
  return at::cat({table.narrow(1, 0, first), cells.reshape({1, product(to), dim})}, 1);
}

Rotation rotation_of(const PatchTokens& tokens, const std::vector<std::int64_t>& grid, std::int64_t head_dim) {
  const at::tracer::impl::NoTracerDispatchMode constant;  // nothing depends on the values of tokens
  constexpr double kBase = 100;
  const auto rank = static_cast<std::int64_t>(grid.size()), n = head_dim / (2 * rank);
  TORCH_CHECK_VALUE(head_dim % (2 * rank) == 0, "rotary positions of ", rank, " axes need a head width that ", 2 * rank, " divides, got ", head_dim);
  const auto options = at::TensorOptions().dtype(at::kDouble).device(tokens.values.device());
  auto extents = at::tensor(grid, at::kDouble).to(options.device()).unsqueeze(0);  // [1 or ΣN, rank]
  at::Tensor cells;                                                                // [ΣN, rank]
  if (tokens.grid.defined()) {
    TORCH_CHECK_VALUE(tokens.grid.size(1) == rank, "tokens of a grid of ", tokens.grid.size(1), " axes where the encoder has ", rank);
    cells = tokens.grid.to(options);
    if (tokens.extents.defined()) extents = tokens.extents.to(at::kDouble).repeat_interleave(at::tensor(tokens.lengths, at::kLong), 0).to(options.device());
  } else {
    auto index = tokens.position;
    if (!index.defined()) {
      for (const auto length : tokens.lengths)
        TORCH_CHECK_VALUE(length == product(grid), "a sequence of ", length, " patches where the encoder's grid has ", product(grid));
      index = at::arange(product(grid), options.dtype(at::kLong)).repeat({static_cast<std::int64_t>(tokens.lengths.size())});
    }
    std::vector<at::Tensor> axes(grid.size());
    for (std::size_t axis = grid.size(); axis-- > 0;) {
      axes[axis] = index.remainder(grid[axis]);
      index = index.floor_divide(grid[axis]);
    }
    cells = at::stack(axes, 1).to(options);
  }
  const auto place = (cells + 0.5) / extents * 2 - 1;
  const auto frequency = at::pow(kBase, at::arange(n, options) * (-1.0 / static_cast<double>(n)));
  const auto half = (place.unsqueeze(-1) * frequency * (2 * std::numbers::pi)).flatten(1);  // [ΣN, head_dim / 2]
  const auto angles = at::cat({half, half}, 1);
  return {angles.cos(), angles.sin()};
}

Rotation with_prefix(const Rotation& rotation, const Rows& rows, std::int64_t prefix) {
  if (!rotation.defined() || prefix == 0) return rotation;
  const auto still = at::zeros({prefix, rotation.cos.size(1)}, rotation.cos.options());
  return {prepend(rotation.cos, still + 1, rows.layout()), prepend(rotation.sin, still, rows.layout())};
}

PositionEmbedding::PositionEmbedding(const EmbeddingConfig& config, std::int64_t dim, bool class_token)
    : kind_(config.positions), radius_(config.radius), first_(class_token ? 1 : 0) {
  if (kind_ == Positions::kCoordinates) {
    TORCH_CHECK_VALUE(radius_ > 0 && std::isfinite(radius_), "radius=", radius_, " mm must be positive");
    proj_ = register_module("proj", std::make_shared<Linear>(4 * 2 * kFrequencies, dim));
    if (config.extra_channels > 0) channel_table_ = register_parameter("channel_table", at::zeros({config.extra_channels, dim}));
  } else {
    grid_ = config.grid();
    table_ = sincos_table(grid_, dim, class_token).unsqueeze(0);
  }
}

std::shared_ptr<PositionEmbedding> PositionEmbedding::create(torch::nn::Module& owner, const EmbeddingConfig& config, std::int64_t dim, bool class_token,
                                                             bool learned) {
  auto out = std::make_shared<PositionEmbedding>(config, dim, class_token);
  if (out->kind_ == Positions::kCoordinates) {
    owner.register_module("pos_embed", out);
  } else if (learned) {
    out->table_ = owner.register_parameter("pos_embed", out->table_);
  } else {
    out->table_ = owner.register_buffer("pos_embed", out->table_);
  }
  return out;
}

at::Tensor PositionEmbedding::class_row() const { return kind_ == Positions::kCoordinates || first_ == 0 ? at::Tensor() : table_.select(1, 0); }

at::Tensor PositionEmbedding::from_table(const PatchTokens& tokens) const {
  const Rows rows(tokens.lengths);
  const auto cells = table_[0].narrow(0, first_, table_.size(1) - first_);
  if (tokens.position.defined()) return embedding(cells, tokens.position, rows);
  const auto rank = static_cast<std::int64_t>(grid_.size());
  if (!tokens.grid.defined()) {
    std::vector<at::Tensor> parts;
    for (const auto length : tokens.lengths) {
      TORCH_CHECK_VALUE(length == cells.size(0), "a sequence of ", length, " patches where the position table has ", cells.size(0));
      parts.push_back(cells);
    }
    return at::cat(parts);
  }
  TORCH_CHECK_VALUE(tokens.grid.size(1) == rank, "tokens of a grid of ", tokens.grid.size(1), " axes where the position table has ", rank);
  // Consecutive sequences of one extent look up the table, or the one resampled to theirs.
  const auto look_up = [&](const std::vector<std::int64_t>& extent, const at::Tensor& grid, const Rows& own) {
    const auto known = extent == grid_ ? cells : resample_positions(table_, grid_, extent, first_)[0].narrow(0, first_, product(extent));
    auto index = grid.select(1, 0).to(at::kLong);
    for (std::int64_t axis = 1; axis < rank; ++axis) index = index * extent[static_cast<std::size_t>(axis)] + grid.select(1, axis);
    return embedding(known, index, own);
  };
  const auto extent_of = [&](std::int64_t b) {
    const auto* at = tokens.extents.const_data_ptr<std::int32_t>() + b * rank;
    return std::vector<std::int64_t>(at, at + rank);
  };
  const auto batch = static_cast<std::int64_t>(tokens.lengths.size());
  if (!tokens.extents.defined()) return look_up(grid_, tokens.grid, rows);
  std::vector<at::Tensor> parts;
  std::int64_t row = 0;
  for (std::int64_t b = 0; b < batch;) {
    const auto extent = extent_of(b);
    Lengths own;
    const auto begin = row;
    for (; b < batch && extent_of(b) == extent; ++b) {
      own.push_back(tokens.lengths[static_cast<std::size_t>(b)]);
      row += own.back();
    }
    parts.push_back(look_up(extent, begin == 0 && b == batch ? tokens.grid : tokens.grid.narrow(0, begin, row - begin), Rows(std::move(own))));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor PositionEmbedding::forward(const PatchTokens& tokens) const {
  if (kind_ != Positions::kCoordinates) return from_table(tokens);
  const Rows rows(tokens.lengths);
  TORCH_CHECK_VALUE(tokens.coords.defined(), "coords is missing: this encoder places its tokens by coordinates");
  auto out = proj_->forward(fourier(tokens.coords, radius_).to(proj_->weight.scalar_type()), rows);
  if (channel_table_.defined() && tokens.channel.defined()) {
    const auto known = tokens.channel.ge(0).unsqueeze(-1).to(out.scalar_type());
    out = out + embedding(channel_table_, tokens.channel.clamp_min(0), rows) * known;
  }
  return out;
}

}  // namespace sslmed::nn
