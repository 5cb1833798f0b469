#include "transforms/scale.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/simd.h"

namespace sslmed::transforms {
namespace {

SSLMED_CLONES double sum(const double* x, std::int64_t n) {
  double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += x[i + k];
  double tail = 0;
  for (; i < n; ++i) tail += x[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

SSLMED_CLONES double sum_of_squares(const double* x, std::int64_t n, double mean) {
  double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += (x[i + k] - mean) * (x[i + k] - mean);
  double tail = 0;
  for (; i < n; ++i) tail += (x[i] - mean) * (x[i] - mean);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

SSLMED_CLONES void shift_scale_clip(double* x, std::int64_t n, double center, double factor, double clip) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = std::min(clip, std::max(-clip, (x[i] - center) * factor));
}

SSLMED_CLONES void add(const double* x, std::int64_t n, double* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += x[i];
}
SSLMED_CLONES void subtract(const double* x, std::int64_t n, double* from) {
  for (std::int64_t i = 0; i < n; ++i) from[i] -= x[i];
}

// Peak to peak of n > 0 values; NaN when one is not finite.
template <class Real>
SSLMED_INLINE Real extent(const Real* x, std::int64_t n) {
  constexpr int kWidth = 16 / sizeof(Real), kSums = 4;
  typedef Real Part __attribute__((vector_size(16)));
  Part low[kSums], high[kSums], damage[kSums]{};  // x - x is NaN for what is not finite, and zero otherwise
  for (int k = 0; k < kSums; ++k) low[k] = high[k] = Part{} + x[0];
  std::int64_t i = 0;
  for (; i + kSums * kWidth <= n; i += kSums * kWidth) {
    for (int k = 0; k < kSums; ++k) {
      Part part;
      std::memcpy(&part, x + i + k * kWidth, sizeof part);
      low[k] = part < low[k] ? part : low[k];
      high[k] = part > high[k] ? part : high[k];
      damage[k] += part - part;
    }
  }
  Real least = x[0], most = x[0], broken = 0;
  for (int k = 0; k < kSums; ++k) {
    for (int j = 0; j < kWidth; ++j) {
      least = std::min(least, low[k][j]);
      most = std::max(most, high[k][j]);
      broken += damage[k][j];
    }
  }
  for (; i < n; ++i) {
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
    broken += x[i] - x[i];
  }
  return most - least + broken;
}
SSLMED_CLONES double peak_to_peak(const double* x, std::int64_t n) { return extent(x, n); }
SSLMED_CLONES float peak_to_peak(const float* x, std::int64_t n) { return extent(x, n); }

template <class Real>
std::vector<char> find_good(const Real* x, std::int64_t channels, std::int64_t length, double flat) {
  std::vector<char> good(static_cast<std::size_t>(channels), 0);
  for (std::int64_t c = 0; c < channels && length > 0; ++c) good[static_cast<std::size_t>(c)] = peak_to_peak(x + c * length, length) > flat;
  return good;
}

// The q-quantile with linear interpolation (NumPy's default); reorders `values`.
double quantile(std::vector<double>& values, double q) {
  const double position = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::ptrdiff_t>(position);
  std::nth_element(values.begin(), values.begin() + low, values.end());
  const double a = values[static_cast<std::size_t>(low)];
  if (static_cast<std::size_t>(low) + 1 >= values.size()) return a;
  const double b = *std::min_element(values.begin() + low + 1, values.end());
  return a + (b - a) * (position - static_cast<double>(low));
}

}  // namespace

std::vector<char> good_channels(const double* x, std::int64_t channels, std::int64_t length, double flat) { return find_good(x, channels, length, flat); }
std::vector<char> good_channels(const float* x, std::int64_t channels, std::int64_t length, double flat) { return find_good(x, channels, length, flat); }

void average_reference(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good) {
  const auto n = std::count_if(good.begin(), good.end(), [](char g) { return g != 0; });
  if (n == 0) return;
  std::vector<double> mean(static_cast<std::size_t>(length), 0.0);
  for (std::int64_t c = 0; c < channels; ++c)
    if (good[static_cast<std::size_t>(c)] != 0) add(x + c * length, length, mean.data());
  for (auto& value : mean) value /= static_cast<double>(n);
  for (std::int64_t c = 0; c < channels; ++c)
    if (good[static_cast<std::size_t>(c)] != 0) subtract(mean.data(), length, x + c * length);
}

void scale_channels(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good, Scaling scaling, double clip, double unit) {
  const double limit = clip > 0 ? clip : HUGE_VAL;
  std::vector<double> sorted;
  for (std::int64_t c = 0; c < channels; ++c) {
    double* row = x + c * length;
    if (good[static_cast<std::size_t>(c)] == 0) {
      std::fill(row, row + length, 0.0);
      continue;
    }
    double center = 0, spread = unit;
    if (scaling == Scaling::kZScore) {
      center = sum(row, length) / static_cast<double>(length);
      spread = std::sqrt(sum_of_squares(row, length, center) / static_cast<double>(length));
    } else if (scaling == Scaling::kRobust) {
      sorted.assign(row, row + length);
      center = quantile(sorted, 0.5);
      const double upper = quantile(sorted, 0.75), lower = quantile(sorted, 0.25);
      spread = (upper - lower) / 1.349;
    }
    shift_scale_clip(row, length, center, spread > 0 ? 1 / spread : 0.0, limit);
  }
}

}  // namespace sslmed::transforms
