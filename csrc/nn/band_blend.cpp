#include "nn/band_blend.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr std::int64_t kMostClasses = 255;

// The class with the largest sum of each cell, the first one of equal ones; `outside` where the weight, the last channel, is 0.
at::Tensor classes_of(const at::Tensor& sums, std::int64_t outside) {
  const auto classes = sums.size(0) - 1;
  if (!sums.is_cpu() || sums.scalar_type() != at::kFloat)
    return at::where(sums[classes] > 0, sums.narrow(0, 0, classes).argmax(0), outside).to(at::kByte).cpu();
  auto out = at::empty({sums.size(1), sums.size(2)}, at::kByte);
  const auto rows = sums.size(1), columns = sums.size(2), channel = sums.stride(0), row_step = sums.stride(1);
  const auto* from = sums.const_data_ptr<float>();
  auto* to = out.data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, 64, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> best(static_cast<std::size_t>(columns));
    for (auto row = first; row < last; ++row) {
      const auto* cells = from + row * row_step;
      auto* labels = to + row * columns;
      std::copy_n(cells, columns, best.data());
      std::fill_n(labels, columns, std::uint8_t{0});
      for (std::int64_t k = 1; k < classes; ++k) {
        const auto* scores = cells + k * channel;
        for (std::int64_t x = 0; x < columns; ++x) {
          const bool more = scores[x] > best[static_cast<std::size_t>(x)];
          labels[x] = more ? static_cast<std::uint8_t>(k) : labels[x];
          best[static_cast<std::size_t>(x)] = more ? scores[x] : best[static_cast<std::size_t>(x)];
        }
      }
      const auto* weight = cells + classes * channel;
      for (std::int64_t x = 0; x < columns; ++x) labels[x] = weight[x] > 0 ? labels[x] : static_cast<std::uint8_t>(outside);
    }
  });
  return out;
}

at::Tensor extra_of(const at::Tensor& sums, BandExtra extra, std::int64_t outside) {
  const auto classes = sums.size(0) - 1;
  const auto weight = sums.narrow(0, classes, 1);
  auto found = at::softmax(sums.narrow(0, 0, classes) / weight.clamp_min(1e-12), 0);
  if (extra == BandExtra::kProbabilities) {
    auto elsewhere = at::zeros({classes, 1, 1}, found.options());
    elsewhere[outside].fill_(1);
    found = at::where(weight > 0, found, elsewhere);
  } else {
    found = -(found * found.clamp_min(1e-12).log()).sum(0, true) / std::log(static_cast<double>(classes));
    found = found.masked_fill(weight <= 0, 0);
  }
  return (found.clamp(0, 1) * 255).round().to(at::kByte).cpu();
}

}  // namespace

BandBlend::BandBlend(BandBlendOptions options) : options_(std::move(options)) {
  const auto& o = options_;
  TORCH_CHECK_VALUE(o.height > 0 && o.width > 0, "BandBlend: a map must have at least one cell, got ", o.height, " x ", o.width);
  TORCH_CHECK_VALUE(o.tile > 0, "BandBlend: tile=", o.tile, " must be at least 1 cell");
  TORCH_CHECK_VALUE(!o.rows.empty() && o.rows.front() == 0, "BandBlend: rows must begin with 0");
  for (std::size_t i = 1; i < o.rows.size(); ++i)
    TORCH_CHECK_VALUE(o.rows[i] > o.rows[i - 1] && o.rows[i] <= o.rows[i - 1] + o.tile, "BandBlend: rows must ascend by at most a tile");
  TORCH_CHECK_VALUE(o.rows.back() + o.tile >= o.height, "BandBlend: rows must reach the end of the map");
  TORCH_CHECK_VALUE(o.outside >= 0 && o.outside < kMostClasses, "BandBlend: outside=", o.outside, " must be a class, within 0 and ", kMostClasses - 1);
  padded_width_ = std::max(o.width, o.tile);
  padded_height_ = std::max(o.height, o.tile);
  weights_ = window_weights({o.tile, o.tile}, o.weights, o.convention);
  blocks_.resize(static_cast<std::size_t>((padded_width_ + o.tile - 1) / o.tile));
}

std::int64_t BandBlend::end_of(std::int64_t row) const {
  const auto next = static_cast<std::size_t>(row) + 1;
  return next < options_.rows.size() ? options_.rows[next] : padded_height_;
}

std::int64_t BandBlend::columns_of(std::size_t block) const {
  return std::min(options_.tile, padded_width_ - static_cast<std::int64_t>(block) * options_.tile);
}

void BandBlend::start(std::int64_t classes, const at::TensorOptions& options) {
  TORCH_CHECK_VALUE(classes >= 2 && classes <= kMostClasses, "BandBlend: predictions must have 2 to ", kMostClasses, " classes, got ", classes);
  TORCH_CHECK_VALUE(options_.outside < classes, "BandBlend: outside=", options_.outside, " must be one of ", classes, " classes");
  classes_ = classes;
  weights_ = weights_.to(options.dtype(at::kFloat));
}

void BandBlend::add(const at::Tensor& prediction, const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& left) {
  const c10::NoGradGuard no_gradients;
  const auto n = static_cast<std::int64_t>(rows.size()), tile = options_.tile;
  TORCH_CHECK_VALUE(prediction.dim() == 4 && prediction.size(0) == n && left.size() == rows.size() && prediction.size(2) == tile && prediction.size(3) == tile,
                    "BandBlend: predictions must be [", n, ", classes, ", tile, ", ", tile, "], got ", prediction.sizes());
  if (classes_ == 0) start(prediction.size(1), prediction.options());
  TORCH_CHECK_VALUE(prediction.size(1) == classes_, "BandBlend: predictions must have ", classes_, " classes as the first ones, got ", prediction.size(1));
  const auto values = prediction.to(at::kFloat);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    TORCH_CHECK_VALUE(rows[at] >= row_ && rows[at] < static_cast<std::int64_t>(options_.rows.size()), "BandBlend: a tile of row ", rows[at],
                      " came after one of row ", row_);
    TORCH_CHECK_VALUE(left[at] >= 0 && left[at] + tile <= padded_width_, "BandBlend: left=", left[at], " must be within the map");
    advance(rows[at]);
    add_tile(values[i], left[at]);
  }
}

void BandBlend::add_tile(const at::Tensor& prediction, std::int64_t left) {
  const auto tile = options_.tile;
  const auto first = static_cast<std::size_t>(left / tile);
  TORCH_CHECK_VALUE(first >= retired_, "BandBlend: tiles of a row must come from left to right");
  retire(first);
  for (auto block = first; block < blocks_.size() && static_cast<std::int64_t>(block) * tile < left + tile; ++block) {
    const auto start = static_cast<std::int64_t>(block) * tile, from = std::max(start, left), to = std::min(start + columns_of(block), left + tile);
    auto sums = active(block).narrow(2, from - start, to - from);
    const auto weights = weights_.narrow(1, from - left, to - from);
    sums.narrow(0, 0, classes_).addcmul_(prediction.narrow(2, from - left, to - from), weights.unsqueeze(0));
    sums[classes_].add_(weights);
  }
}

at::Tensor& BandBlend::active(std::size_t block) {
  auto& at = blocks_[block];
  if (!at.sums.defined()) {
    at.sums = at::zeros({classes_ + 1, options_.tile, columns_of(block)}, weights_.options());
    if (at.carry.defined()) at.sums.narrow(1, 0, at.carry.size(1)).copy_(at.carry);
    at.carry.reset();
  }
  return at.sums;
}

void BandBlend::retire(std::size_t until) {
  const auto rows = end_of(row_) - options_.rows[static_cast<std::size_t>(row_)];
  for (; retired_ < until; ++retired_) {
    auto& block = blocks_[retired_];
    if (!block.sums.defined() && !block.carry.defined()) continue;
    const auto sums = active(retired_);
    store(sums.narrow(1, 0, rows), static_cast<std::int64_t>(retired_) * options_.tile, rows);
    const auto left = options_.tile - rows;
    const auto carry = sums.narrow(1, rows, left);
    if (left > 0 && carry[classes_].any().item<bool>()) block.carry = carry.clone();
    block.sums.reset();
  }
}

void BandBlend::open_band(std::int64_t rows) {
  if (band_.classes.defined()) return;
  band_.classes = at::full({rows, options_.width}, options_.outside, at::kByte);
  if (options_.extra == BandExtra::kUncertainty) band_.extra = at::zeros({1, rows, options_.width}, at::kByte);
  if (options_.extra == BandExtra::kProbabilities) {
    band_.extra = at::zeros({classes_, rows, options_.width}, at::kByte);
    band_.extra[options_.outside].fill_(255);
  }
}

void BandBlend::store(const at::Tensor& sums, std::int64_t first_column, std::int64_t rows) {
  const auto row = options_.rows[static_cast<std::size_t>(row_)];
  const auto columns = std::min(sums.size(2), options_.width - first_column), used = std::min(rows, options_.height - row);
  if (columns <= 0 || used <= 0) return;
  open_band(used);
  const auto part = sums.narrow(1, 0, used).narrow(2, 0, columns);
  band_.classes.narrow(1, first_column, columns).copy_(classes_of(part, options_.outside));
  if (band_.extra.defined()) band_.extra.narrow(2, first_column, columns).copy_(extra_of(part, options_.extra, options_.outside));
}

void BandBlend::advance(std::int64_t row) {
  for (; row_ < row; ++row_) {
    retire(blocks_.size());
    retired_ = 0;
    const auto first = options_.rows[static_cast<std::size_t>(row_)], used = std::min(end_of(row_), options_.height) - first;
    if (used > 0) {
      open_band(used);
      band_.row = first;
      done_.push_back(std::exchange(band_, {}));
    }
  }
}

void BandBlend::finish(std::int64_t classes) {
  const c10::NoGradGuard no_gradients;
  if (classes_ == 0) start(classes, weights_.options());
  advance(static_cast<std::int64_t>(options_.rows.size()));
}

std::vector<Band> BandBlend::take() { return std::exchange(done_, {}); }

}  // namespace sslmed::nn
