#include "transforms/area_resize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

// Which source pixels an output pixel covers, and by how much of itself.
struct Span {
  std::int64_t first;
  std::size_t begin, end;  // of its weights
};

void spans_of(const Grid& grid, std::int64_t size, std::vector<Span>& spans, std::vector<float>& weights) {
  constexpr double kSlack = 1e-6;  // pixels: sums of fractions end a little beside whole numbers
  if (!(grid.step > 0) || !(grid.start >= -kSlack) || grid.start + static_cast<double>(grid.count) * grid.step > static_cast<double>(size) + kSlack)
    throw ValueError("an area from " + std::to_string(grid.start) + " of " + std::to_string(grid.count) + " x " + std::to_string(grid.step) +
                     " pixels is not within a source of " + std::to_string(size));
  for (std::int64_t i = 0; i < grid.count; ++i) {
    const double from = std::max(0.0, grid.start + static_cast<double>(i) * grid.step);
    const double to = std::min(static_cast<double>(size), grid.start + static_cast<double>(i + 1) * grid.step);
    const auto first = std::min(static_cast<std::int64_t>(from), size - 1);
    const auto last = std::max(first + 1, std::min(size, static_cast<std::int64_t>(std::ceil(to - kSlack))));
    spans.push_back({first, weights.size(), weights.size() + static_cast<std::size_t>(last - first)});
    double sum = 0;
    for (auto s = first; s < last; ++s) {
      const double overlap = std::min(to, static_cast<double>(s + 1)) - std::max(from, static_cast<double>(s));
      weights.push_back(static_cast<float>(std::max(overlap, 0.0)));
      sum += weights.back();
    }
    if (sum <= 0) weights[spans.back().begin] = 1, sum = 1;
    for (auto w = spans.back().begin; w < weights.size(); ++w) weights[w] = static_cast<float>(weights[w] / sum);
  }
}

SSLMED_CLONES void add_row(const std::uint8_t* source, float weight, std::size_t n, float* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] += weight * static_cast<float>(source[i]);
}

}  // namespace

void area_resize(const std::uint8_t* source, std::int64_t width, std::int64_t height, std::int64_t channels, const Grid& x, const Grid& y, std::uint8_t* into) {
  area_resize([&](std::int64_t i) { return source + i * width * channels; }, width, height, channels, x, y, into);
}

void area_resize(const SourceRow& source, std::int64_t width, std::int64_t height, std::int64_t channels, const Grid& x, const Grid& y, std::uint8_t* into) {
  std::vector<Span> columns, rows;
  std::vector<float> column_weights, row_weights;
  spans_of(x, width, columns, column_weights);
  spans_of(y, height, rows, row_weights);
  const auto stride = static_cast<std::size_t>(width * channels);
  std::vector<float> sums(stride);
  for (const auto& row : rows) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (auto w = row.begin; w < row.end; ++w) add_row(source(row.first + static_cast<std::int64_t>(w - row.begin)), row_weights[w], stride, sums.data());
    for (const auto& column : columns) {
      const float* from = sums.data() + column.first * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (auto w = column.begin; w < column.end; ++w) sum += column_weights[w] * from[static_cast<std::int64_t>(w - column.begin) * channels + c];
        *into++ = static_cast<std::uint8_t>(std::clamp(sum + 0.5F, 0.0F, 255.0F));
      }
    }
  }
}

}  // namespace sslmed::transforms
