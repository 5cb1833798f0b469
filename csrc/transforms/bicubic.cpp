#include "transforms/bicubic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/pixel.h"

namespace sslmed::transforms {
namespace {

struct Taps {
  std::vector<std::int64_t> first;  // of each output pixel
  std::vector<std::int64_t> count;
  std::vector<std::int32_t> weights;  // `most` for each
  std::int64_t most = 0;
};

Taps taps_of(std::int64_t size, double start, double length, std::int64_t out) {
  Taps taps;
  taps.most = most_taps(length, out);
  taps.weights.resize(static_cast<std::size_t>(out * taps.most));
  std::vector<double> exact(static_cast<std::size_t>(taps.most));
  for (std::int64_t i = 0; i < out; ++i) {
    const auto reach = reach_of(size, start, length, out, i);
    double sum = 0;
    for (auto s = reach.first; s < reach.last; ++s) sum += exact[static_cast<std::size_t>(s - reach.first)] = exact_weight(reach, s);
    for (auto s = reach.first; s < reach.last; ++s)
      taps.weights[static_cast<std::size_t>(i * taps.most + s - reach.first)] = whole_weight(exact[static_cast<std::size_t>(s - reach.first)], sum);
    taps.first.push_back(reach.first);
    taps.count.push_back(reach.last - reach.first);
  }
  return taps;
}

// Three channels of two rows in a register of AVX2; every fourth value is of no use. They lie as plain numbers in
// memory: what alignment a vector type has depends on the clone.
constexpr int kPaired = 2, kPairedValues = 4 * kPaired;
typedef std::uint8_t RowBytes __attribute__((vector_size(4 * kPaired)));
typedef std::int32_t Rows __attribute__((vector_size(16 * kPaired)));
typedef std::uint32_t Words __attribute__((vector_size(16 * kPaired)));

SSLMED_INLINE void pixels_at(const std::uint8_t* const* rows, std::int64_t x, std::int64_t width, std::int32_t* into) {
  std::array<std::uint32_t, kPaired> four{};
  for (std::size_t r = 0; r < kPaired; ++r) {
    // Four bytes of a pixel of three, but for a row's last: behind it the picture may end.
    if (x + 1 < width) {
      std::memcpy(&four[r], rows[r] + 3 * x, 4);
    } else {
      std::memcpy(&four[r], rows[r] + 3 * x, 3);
    }
  }
  // Spread by shifts: GCC widens eight bytes one by one.
  const Words a = Words{} + four[0], b = Words{} + four[1];
  const Words values = __builtin_shuffle(a, b, Words{0, 0, 0, 0, 8, 8, 8, 8}) >> Words{0, 8, 16, 24, 0, 8, 16, 24} & 255;
  std::memcpy(into, &values, sizeof values);
}

// `wide` is room for the source's pixels that have weights.
SSLMED_CLONES void colours_of(const std::uint8_t* const* rows, std::int64_t width, const std::int64_t* first, const std::int64_t* counts,
                              const std::int32_t* all, std::int64_t most, std::int64_t n, std::int32_t* wide, std::uint8_t* const* out) {
  constexpr std::int32_t kHalf = 1 << (kBicubicBits - 1);
  const auto begin = first[0], end = first[n - 1] + counts[n - 1];
  for (auto x = begin; x < end; ++x) pixels_at(rows, x, width, wide + kPairedValues * (x - begin));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t* weights = all + i * most;
    const std::int32_t* from = wide + kPairedValues * (first[i] - begin);
    Rows sum = Rows{} + kHalf;
    for (std::int64_t t = 0; t < counts[i]; ++t) {
      Rows values;
      std::memcpy(&values, from + kPairedValues * t, sizeof values);
      sum += weights[t] * values;
    }
    sum >>= kBicubicBits;
    sum = sum < 0 ? Rows{} : sum;
    sum = sum > 255 ? Rows{} + 255 : sum;
    const RowBytes bytes = __builtin_convertvector(sum, RowBytes);
    // The fourth byte is written over by the next pixel. Copies of a known size are single instructions.
    if (i + 1 < n) {
      for (int r = 0; r < kPaired; ++r) std::memcpy(out[r] + 3 * i, reinterpret_cast<const std::uint8_t*>(&bytes) + 4 * r, 4);
    } else {
      for (int r = 0; r < kPaired; ++r) std::memcpy(out[r] + 3 * i, reinterpret_cast<const std::uint8_t*>(&bytes) + 4 * r, 3);
    }
  }
}

// One channel: its taps lie side by side.
SSLMED_CLONES void greys_of(const std::uint8_t* source, const std::int64_t* first, const std::int64_t* counts, const std::int32_t* all, std::int64_t most,
                            std::int64_t n, std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t* weights = all + i * most;
    const std::uint8_t* from = source + first[i];
    std::int32_t sum = 1 << (kBicubicBits - 1);
    for (std::int64_t t = 0; t < counts[i]; ++t) sum += weights[t] * from[t];
    out[i] = weighted_byte(sum);
  }
}

void row_of(const std::uint8_t* source, const Taps& taps, std::int64_t channels, std::uint8_t* out) {
  const auto n = static_cast<std::int64_t>(taps.first.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t* weights = taps.weights.data() + i * taps.most;
    const std::uint8_t* from = source + taps.first[static_cast<std::size_t>(i)] * channels;
    const auto count = taps.count[static_cast<std::size_t>(i)];
    for (std::int64_t c = 0; c < channels; ++c) {
      std::int32_t sum = 1 << (kBicubicBits - 1);
      for (std::int64_t t = 0; t < count; ++t) sum += weights[t] * from[t * channels + c];
      out[i * channels + c] = weighted_byte(sum);
    }
  }
}

SSLMED_CLONES void column_of(const std::uint8_t* source, std::int64_t stride, std::int64_t count, const std::int32_t* weights, std::int32_t* sums,
                             std::uint8_t* out) {
  std::fill(sums, sums + stride, 1 << (kBicubicBits - 1));
  std::int64_t t = 0;
  for (; t + 4 <= count; t += 4) {
    const std::uint8_t *a = source + t * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    const std::int32_t wa = weights[t], wb = weights[t + 1], wc = weights[t + 2], wd = weights[t + 3];
    for (std::int64_t i = 0; i < stride; ++i) sums[i] += wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
  }
  for (; t < count; ++t) {
    const std::uint8_t* row = source + t * stride;
    const std::int32_t weight = weights[t];
    for (std::int64_t i = 0; i < stride; ++i) sums[i] += weight * row[i];
  }
  for (std::int64_t i = 0; i < stride; ++i) out[i] = weighted_byte(sums[i]);
}

}  // namespace

std::int64_t most_taps(double length, std::int64_t out) {
  const double scale = length / static_cast<double>(out);
  return static_cast<std::int64_t>(std::ceil(2 * std::max(scale, 1.0))) * 2 + 1;
}

void check_box(const Box& box, std::int64_t width, std::int64_t height) {
  if (!(box.x >= 0 && box.y >= 0 && box.width > 0 && box.height > 0 && box.x + box.width <= static_cast<double>(width) &&
        box.y + box.height <= static_cast<double>(height)))
    throw ValueError("a box of " + std::to_string(box.width) + " x " + std::to_string(box.height) + " at " + std::to_string(box.x) + ", " +
                     std::to_string(box.y) + " is not within a picture of " + std::to_string(width) + " x " + std::to_string(height));
}

void resize_bicubic(const std::uint8_t* source, std::int64_t width, std::int64_t height, std::int64_t channels, const Box& box, std::int64_t out_width,
                    std::int64_t out_height, std::uint8_t* into) {
  if (out_width < 1 || out_height < 1 || channels < 1) throw ValueError("a picture has at least one pixel");
  check_box(box, width, height);
  const auto across = taps_of(width, box.x, box.width, out_width), down = taps_of(height, box.y, box.height, out_height);
  const auto first = down.first.front(), last = down.first.back() + down.count.back();
  const auto stride = out_width * channels;
  std::vector<std::uint8_t> rows(static_cast<std::size_t>((last - first) * stride));
  std::vector<std::int32_t> wide(channels == 3 ? static_cast<std::size_t>(kPairedValues * (across.first.back() + across.count.back() - across.first.front()))
                                               : 0);
  std::vector<std::uint8_t> spare(static_cast<std::size_t>(stride));
  for (auto y = first; y < last; y += channels == 3 ? kPaired : 1) {
    const std::uint8_t* from = source + y * width * channels;
    std::uint8_t* to = rows.data() + (y - first) * stride;
    if (channels == 3) {
      std::array<const std::uint8_t*, kPaired> sources{};
      std::array<std::uint8_t*, kPaired> results{};
      for (std::int64_t r = 0; r < kPaired; ++r) {
        const bool there = y + r < last;
        sources[static_cast<std::size_t>(r)] = there ? from + r * width * channels : from;
        results[static_cast<std::size_t>(r)] = there ? to + r * stride : spare.data();
      }
      colours_of(sources.data(), width, across.first.data(), across.count.data(), across.weights.data(), across.most, out_width, wide.data(), results.data());
    } else if (channels == 1) {
      greys_of(from, across.first.data(), across.count.data(), across.weights.data(), across.most, out_width, to);
    } else {
      row_of(from, across, channels, to);
    }
  }
  std::vector<std::int32_t> sums(static_cast<std::size_t>(stride));
  for (std::int64_t y = 0; y < out_height; ++y) {
    const auto i = static_cast<std::size_t>(y);
    column_of(rows.data() + (down.first[i] - first) * stride, stride, down.count[i], down.weights.data() + y * down.most, sums.data(), into + y * stride);
  }
}

}  // namespace sslmed::transforms
