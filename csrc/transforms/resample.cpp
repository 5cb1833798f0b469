#include "transforms/resample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/lanes.h"

namespace sslmed::transforms {
namespace {

constexpr double kKaiserBeta = 5.0;
constexpr std::int64_t kMaxTerm = 100'000;

// A lane a channel, so that a sum over time needs no reduction. N outputs of one phase, whose inputs are `step` apart, share
// the loads of their taps and hide each other's latency.
template <int N>
SSLMED_INLINE void weigh(const Lanes* x, std::int64_t step, const double* taps, std::int64_t n, Lanes* y, std::int64_t y_step) {
  Lanes sums[N]{};
  for (std::int64_t i = 0; i < n; ++i)
    for (int k = 0; k < N; ++k) sums[k] += x[k * step + i] * taps[i];
  for (int k = 0; k < N; ++k) y[k * y_step] = sums[k];
}
constexpr std::int64_t kTogether = 6;
SSLMED_CLONES void weigh_one(const Lanes* x, const double* taps, std::int64_t n, Lanes* y) { weigh<1>(x, 0, taps, n, y, 0); }
SSLMED_CLONES void weigh_many(const Lanes* x, std::int64_t step, const double* taps, std::int64_t n, Lanes* y, std::int64_t y_step) {
  weigh<kTogether>(x, step, taps, n, y, y_step);
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
  // Continued fraction of to / from; clocks of their own (99.98 Hz) need larger terms.
  for (const std::int64_t most : {1'000, 10'000}) {
    double rest = to / from;
    std::int64_t p0 = 0, q0 = 1, p1 = 1, q1 = 0;
    for (int i = 0; i < 32; ++i) {
      const auto whole = static_cast<std::int64_t>(std::floor(rest));
      const std::int64_t p = whole * p1 + p0, q = whole * q1 + q0;
      if (p > most || q > most) break;
      p0 = p1, q0 = q1, p1 = p, q1 = q;
      if (rest - static_cast<double>(whole) < 1e-9) break;
      rest = 1 / (rest - static_cast<double>(whole));
    }
    if (p1 > 0 && q1 > 0 && std::abs(static_cast<double>(p1) / static_cast<double>(q1) / (to / from) - 1) <= 1e-4) return Resampler(p1, q1);
  }
  throw ValueError("no factor with terms up to 10,000 takes " + std::to_string(from) + " Hz to " + std::to_string(to) + " Hz");
}

void Resampler::apply(const Lanes* x, std::int64_t length, std::int64_t first, std::int64_t n, Lanes* y) const {
  if (is_identity()) {
    std::copy(x + first, x + first + n, y);
    return;
  }
  const std::int64_t stop = first + n;
  for (std::int64_t phase = 0; phase < std::min(up_, n); ++phase) {
    const auto& taps = taps_[static_cast<std::size_t>(((first + phase) * down_ + half_) % up_)];
    const auto count = static_cast<std::int64_t>(taps.size());
    for (std::int64_t k = first + phase; k < stop;) {
      const std::int64_t oldest = (k * down_ + half_) / up_ - count + 1;
      if (k + (kTogether - 1) * up_ < stop && oldest >= 0 && oldest + (kTogether - 1) * down_ + count <= length) {
        weigh_many(x + oldest, down_, taps.data(), count, y + (k - first), up_);
        k += kTogether * up_;
      } else {
        const std::int64_t skip = std::max<std::int64_t>(0, -oldest), end = std::min(count, length - oldest);
        weigh_one(x + oldest + skip, taps.data() + skip, std::max<std::int64_t>(0, end - skip), y + (k - first));
        k += up_;
      }
    }
  }
}

void Resampler::apply(const double* x, std::int64_t channels, std::int64_t length, double* y) const {
  const std::int64_t n_out = output_length(length);
  thread_local LaneBuffer in, out;
  Lanes *from = in.resize(length), *to = out.resize(n_out);
  for (std::int64_t first = 0; first < channels; first += kLanes) {
    const int n = static_cast<int>(std::min<std::int64_t>(kLanes, channels - first));
    std::array<const double*, kLanes> rows{};
    std::array<double*, kLanes> results{};
    for (int c = 0; c < n; ++c) {
      rows[static_cast<std::size_t>(c)] = x + (first + c) * length;
      results[static_cast<std::size_t>(c)] = y + (first + c) * n_out;
    }
    interleave(rows.data(), n, length, from);
    apply(from, length, 0, n_out, to);
    deinterleave(to, n, n_out, results.data());
  }
}

}  // namespace sslmed::transforms
