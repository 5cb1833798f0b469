#include "transforms/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

constexpr double kKaiserBeta = 5.0;
constexpr std::int64_t kMaxTerm = 100'000;

SSLMED_CLONES double dot(const double* a, const double* b, std::int64_t n) {
  // Eight partial sums, so that the compiler may use vectors without being allowed to reorder additions at large.
  double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  double tail = 0;
  for (; i < n; ++i) tail += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

// firwin(2 half + 1, 1 / max(up, down), window=("kaiser", 5)) * up
std::vector<double> low_pass(std::int64_t half, std::int64_t largest, double up) {
  std::vector<double> h(static_cast<std::size_t>(2 * half + 1));
  const double cutoff = 1.0 / static_cast<double>(largest);
  double sum = 0;
  for (std::int64_t i = -half; i <= half; ++i) {
    const double angle = std::numbers::pi * cutoff * static_cast<double>(i);
    const double sinc = i == 0 ? 1.0 : std::sin(angle) / angle;
    const double x = static_cast<double>(i) / static_cast<double>(half);
    const double window = std::cyl_bessel_i(0.0, kKaiserBeta * std::sqrt(std::max(0.0, 1 - x * x))) / std::cyl_bessel_i(0.0, kKaiserBeta);
    h[static_cast<std::size_t>(i + half)] = cutoff * sinc * window;
    sum += h[static_cast<std::size_t>(i + half)];
  }
  for (auto& tap : h) tap *= up / sum;
  return h;
}

}  // namespace

Resampler::Resampler(std::int64_t up, std::int64_t down) : up_(up), down_(down) {
  if (up < 1 || down < 1) throw ValueError("resampling needs positive factors, got " + std::to_string(up) + "/" + std::to_string(down));
  const std::int64_t common = std::gcd(up, down);
  up_ /= common;
  down_ /= common;
  if (std::max(up_, down_) > kMaxTerm) throw ValueError("resampling factor " + std::to_string(up_) + "/" + std::to_string(down_) + " has terms over 100,000");
  if (is_identity()) return;
  half_ = 10 * std::max(up_, down_);
  const auto h = low_pass(half_, std::max(up_, down_), static_cast<double>(up_));
  // Output k reads input j with tap half + k*down - j*up, so phase = (k*down + half) mod up selects every up-th tap.
  taps_.resize(static_cast<std::size_t>(up_));
  for (std::int64_t phase = 0; phase < up_; ++phase) {
    auto& taps = taps_[static_cast<std::size_t>(phase)];
    for (std::int64_t t = phase; t <= 2 * half_; t += up_) taps.push_back(h[static_cast<std::size_t>(t)]);
    std::reverse(taps.begin(), taps.end());
  }
}

Resampler Resampler::between(double from, double to) {
  if (!(from > 0) || !(to > 0) || !std::isfinite(from) || !std::isfinite(to))
    throw ValueError("resampling needs positive rates, got " + std::to_string(from) + " to " + std::to_string(to) + " Hz");
  // Continued fraction of to / from.
  double rest = to / from;
  std::int64_t p0 = 0, q0 = 1, p1 = 1, q1 = 0;
  for (int i = 0; i < 32; ++i) {
    const auto whole = static_cast<std::int64_t>(std::floor(rest));
    const std::int64_t p = whole * p1 + p0, q = whole * q1 + q0;
    if (p > 1000 || q > 1000) break;
    p0 = p1, q0 = q1, p1 = p, q1 = q;
    if (rest - static_cast<double>(whole) < 1e-9) break;
    rest = 1 / (rest - static_cast<double>(whole));
  }
  if (p1 < 1 || q1 < 1 || std::abs(static_cast<double>(p1) / static_cast<double>(q1) / (to / from) - 1) > 1e-4)
    throw ValueError("no factor with terms up to 1,000 takes " + std::to_string(from) + " Hz to " + std::to_string(to) + " Hz");
  return Resampler(p1, q1);
}

void Resampler::apply(const double* x, std::int64_t channels, std::int64_t length, double* y) const {
  const std::int64_t n_out = output_length(length);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double* in = x + c * length;
    double* out = y + c * n_out;
    if (is_identity()) {
      std::copy(in, in + length, out);
      continue;
    }
    for (std::int64_t k = 0; k < n_out; ++k) {
      const std::int64_t position = k * down_ + half_;
      const auto& taps = taps_[static_cast<std::size_t>(position % up_)];
      const std::int64_t newest = position / up_, n = static_cast<std::int64_t>(taps.size());
      const std::int64_t first = newest - n + 1;
      const std::int64_t skip = std::max<std::int64_t>(0, -first), stop = std::min(n, length - first);
      out[k] = skip < stop ? dot(in + first + skip, taps.data() + skip, stop - skip) : 0.0;
    }
  }
}

}  // namespace sslmed::transforms
