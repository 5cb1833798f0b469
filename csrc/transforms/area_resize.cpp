#include "transforms/area_resize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/planes.h"

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

// Three channels in a register of four floats: the fourth is the next pixel's first, and is written over by the next sum. So `from` and `into` have one
// value more than they need.
SSLMED_CLONES void add_colours(const float* from, const Span* spans, const float* weights, std::size_t n, float* into) {
  typedef float Four __attribute__((vector_size(16)));
  for (std::size_t i = 0; i < n; ++i) {
    const Span span = spans[i];
    const float* pixel = from + 3 * span.first;
    Four sum{}, value;
    for (auto w = span.begin; w < span.end; ++w, pixel += 3) {
      std::memcpy(&value, pixel, sizeof value);
      sum += weights[w] * value;
    }
    std::memcpy(into + 3 * i, &sum, sizeof sum);
  }
}

void add_columns(const float* from, const Span* spans, const float* weights, std::size_t n, std::size_t channels, float* into) {
  for (std::size_t i = 0; i < n; ++i) {
    const Span span = spans[i];
    for (std::size_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (auto w = span.begin; w < span.end; ++w) sum += weights[w] * from[(static_cast<std::size_t>(span.first) + w - span.begin) * channels + c];
      *into++ = sum;
    }
  }
}

SSLMED_CLONES void to_bytes(const float* from, std::size_t n, std::uint8_t* into) {
  for (std::size_t i = 0; i < n; ++i) into[i] = rounded_byte(from[i]);
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
  const auto depth = static_cast<std::size_t>(channels), stride = static_cast<std::size_t>(width) * depth, out = columns.size() * depth;
  std::vector<float> sums(stride + 1), resized(out + 1);
  for (const auto& row : rows) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (auto w = row.begin; w < row.end; ++w) add_row(source(row.first + static_cast<std::int64_t>(w - row.begin)), row_weights[w], stride, sums.data());
    if (channels == 3) {
      add_colours(sums.data(), columns.data(), column_weights.data(), columns.size(), resized.data());
    } else {
      add_columns(sums.data(), columns.data(), column_weights.data(), columns.size(), depth, resized.data());
    }
    to_bytes(resized.data(), out, into);
    into += out;
  }
}

}  // namespace sslmed::transforms
