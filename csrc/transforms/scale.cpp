#include "transforms/scale.h"

#include <algorithm>
#include <cmath>

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

std::vector<char> good_channels(const double* x, std::int64_t channels, std::int64_t length, double flat) {
  std::vector<char> good(static_cast<std::size_t>(channels), 0);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double* row = x + c * length;
    double low = length > 0 ? row[0] : 0, high = low;
    bool finite = length > 0;
    for (std::int64_t t = 0; t < length && finite; ++t) {
      finite = std::isfinite(row[t]);
      low = std::min(low, row[t]);
      high = std::max(high, row[t]);
    }
    good[static_cast<std::size_t>(c)] = finite && high - low > flat;
  }
  return good;
}

void average_reference(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good) {
  const auto n = std::count_if(good.begin(), good.end(), [](char g) { return g != 0; });
  if (n == 0) return;
  std::vector<double> mean(static_cast<std::size_t>(length), 0.0);
  for (std::int64_t c = 0; c < channels; ++c)
    if (good[static_cast<std::size_t>(c)] != 0)
      for (std::int64_t t = 0; t < length; ++t) mean[static_cast<std::size_t>(t)] += x[c * length + t];
  for (auto& value : mean) value /= static_cast<double>(n);
  for (std::int64_t c = 0; c < channels; ++c)
    if (good[static_cast<std::size_t>(c)] != 0)
      for (std::int64_t t = 0; t < length; ++t) x[c * length + t] -= mean[static_cast<std::size_t>(t)];
}

void scale_channels(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good, Scaling scaling, double clip) {
  const double limit = clip > 0 ? clip : HUGE_VAL;
  std::vector<double> sorted;
  for (std::int64_t c = 0; c < channels; ++c) {
    double* row = x + c * length;
    if (good[static_cast<std::size_t>(c)] == 0) {
      std::fill(row, row + length, 0.0);
      continue;
    }
    double center = 0, spread = 1;
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
