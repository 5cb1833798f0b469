#include "transforms/filter.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <string>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/lanes.h"

namespace sslmed::transforms {
namespace {

using Complex = std::complex<double>;

// A pair of digital poles (conjugates, or two reals) with the given zeros as one section of unit gain at z0.
Section make_section(Complex p1, Complex p2, double zero1, double zero2, bool second, Complex z0) {
  Section s{1, -(zero1 + (second ? zero2 : 0)), second ? zero1 * zero2 : 0, -(p1 + p2).real(), (p1 * p2).real()};
  const Complex z = 1.0 / z0;
  const double gain = std::abs((1.0 + s.a1 * z + s.a2 * z * z) / (s.b0 + s.b1 * z + s.b2 * z * z));
  s.b0 *= gain;
  s.b1 *= gain;
  s.b2 *= gain;
  return s;
}

// The state in which a constant input of 1 gives a constant output at once, section after section (scipy.signal.sosfilt_zi).
std::vector<std::array<double, 2>> steady_state(const Sections& sections) {
  std::vector<std::array<double, 2>> out;
  double scale = 1;
  for (const auto& s : sections) {
    const double u = s.b1 - s.a1 * s.b0, v = s.b2 - s.a2 * s.b0;
    const double z0 = (u + v) / (1 + s.a1 + s.a2);
    out.push_back({scale * z0, scale * (v - s.a2 * z0)});
    scale *= (s.b0 + s.b1 + s.b2) / (1 + s.a1 + s.a2);
  }
  return out;
}

// One pass of K sections from x[0] on in steps of `step`. With four, the states fit the registers of AVX2, and the arithmetic
// takes as long as the chain from one time to the next. kBand: all have the zeros of a band-pass, b1 = 0 and b2 = -b0.
template <int K, bool kBand>
SSLMED_INLINE void run_sections(const Section* sections, const std::array<double, 2>* steady, const Lanes& start, Lanes* x, std::int64_t length,
                                std::int64_t step) {
  Lanes z0[K], z1[K];
  for (int s = 0; s < K; ++s) {
    z0[s] = start * steady[s][0];
    z1[s] = start * steady[s][1];
  }
  for (std::int64_t t = 0; t < length; ++t) {
    Lanes value = x[t * step];
    for (int s = 0; s < K; ++s) {
      const Section& c = sections[s];
      if constexpr (kBand) {
        const Lanes in = c.b0 * value;
        value = in + z0[s];
        z0[s] = z1[s] - c.a1 * value;
        z1[s] = -in - c.a2 * value;
      } else {
        const Lanes y = c.b0 * value + z0[s];
        z0[s] = (c.b1 * value + z1[s]) - c.a1 * y;
        z1[s] = c.b2 * value - c.a2 * y;
        value = y;
      }
    }
    x[t * step] = value;
  }
}

template <bool kBand>
SSLMED_INLINE void run_all(const Section* sections, const std::array<double, 2>* steady, int n, Lanes* x, std::int64_t length, std::int64_t step) {
  const Lanes start = x[0];
  int s = 0;
  for (; s + 4 <= n; s += 4) run_sections<4, kBand>(sections + s, steady + s, start, x, length, step);
  for (; s + 2 <= n; s += 2) run_sections<2, kBand>(sections + s, steady + s, start, x, length, step);
  if (s < n) run_sections<1, kBand>(sections + s, steady + s, start, x, length, step);
}

SSLMED_CLONES void pass(const Section* sections, const std::array<double, 2>* steady, int n, Lanes* x, std::int64_t length, std::int64_t step) {
  run_all<false>(sections, steady, n, x, length, step);
}
SSLMED_CLONES void pass_band(const Section* sections, const std::array<double, 2>* steady, int n, Lanes* x, std::int64_t length, std::int64_t step) {
  run_all<true>(sections, steady, n, x, length, step);
}

}  // namespace

Sections butterworth(int order, double low, double high, double sfreq) {
  const double nyquist = sfreq / 2;
  require(sfreq > 0, "sfreq", sfreq, "must be positive");
  require(order >= 1 && order <= 16, "order", order, "must be within 1 and 16");
  require(low >= 0 && low < nyquist, "l_freq", low, "Hz must be within 0 (none) and half the sampling rate");
  require(high >= 0 && high < nyquist, "h_freq", high, "Hz must be within 0 (none) and half the sampling rate");
  require(low > 0 || high > 0, "h_freq", high, "Hz must be positive where l_freq is 0: a filter has an edge");
  require(high == 0 || low < high, "h_freq", high, "Hz must be above l_freq");
  const auto warp = [&](double f) { return 2 * sfreq * std::tan(std::numbers::pi * f / sfreq); };
  const auto digital = [&](Complex s) { return (2 * sfreq + s) / (2 * sfreq - s); };
  std::vector<Complex> prototype;  // upper half plane and the real pole
  for (int k = 0; k < (order + 1) / 2; ++k) {
    const double angle = std::numbers::pi * (2 * k + 1 + order) / (2.0 * order);
    prototype.push_back(std::polar(1.0, angle));
  }
  Sections sections;
  const bool odd = order % 2 != 0;
  for (std::size_t k = 0; k < prototype.size(); ++k) {
    const bool real = odd && k + 1 == prototype.size();
    const Complex p = real ? Complex(-1, 0) : prototype[k];
    if (low > 0 && high > 0) {
      const double w1 = warp(low), w2 = warp(high), center = std::sqrt(w1 * w2);
      const Complex half = p * ((w2 - w1) / 2), root = std::sqrt(half * half - center * center);
      const Complex z0 = std::polar(1.0, 2 * std::atan(center / (2 * sfreq)));  // unit gain at the centre
      const Complex a = digital(half + root), b = digital(half - root);
      if (real) {
        sections.push_back(make_section(a, b, 1, -1, true, z0));
      } else {
        sections.push_back(make_section(a, std::conj(a), 1, -1, true, z0));
        sections.push_back(make_section(b, std::conj(b), 1, -1, true, z0));
      }
    } else {
      const Complex pole = digital(high > 0 ? p * warp(high) : warp(low) / p);
      const double zero = high > 0 ? -1 : 1;
      sections.push_back(make_section(pole, real ? Complex(0, 0) : std::conj(pole), zero, zero, !real, high > 0 ? 1.0 : -1.0));
    }
  }
  return sections;
}

Sections notch(double freq, double quality, double sfreq) {
  require(freq > 0 && freq < sfreq / 2, "freq", freq, "Hz must be above 0 and below half the sampling rate");
  require(quality > 0, "quality", quality, "must be positive");
  const double w0 = 2 * std::numbers::pi * freq / sfreq, gain = 1 / (1 + std::tan(w0 / quality / 2)), c = std::cos(w0);
  return {{gain, -2 * gain * c, gain, -2 * gain * c, 2 * gain - 1}};
}

std::int64_t padding(const Sections& sections) {
  std::int64_t no_b2 = 0, no_a2 = 0;
  for (const auto& s : sections) {
    no_b2 += s.b2 == 0;
    no_a2 += s.a2 == 0;
  }
  return 3 * (2 * static_cast<std::int64_t>(sections.size()) + 1 - std::min(no_b2, no_a2));
}

void filter_zero_phase(const Sections& sections, Lanes* x, std::int64_t length) {
  if (sections.empty()) return;
  const std::int64_t pad = padding(sections);
  if (length <= pad)
    throw ValueError("a signal of " + std::to_string(length) + " samples is too short for this filter: it needs more than " + std::to_string(pad));
  for (std::int64_t t = 1; t <= pad; ++t) {  // odd extension
    x[-t] = 2.0 * x[0] - x[t];
    x[length - 1 + t] = 2.0 * x[length - 1] - x[length - 1 - t];
  }
  const auto steady = steady_state(sections);
  const int count = static_cast<int>(sections.size());
  const auto run = std::all_of(sections.begin(), sections.end(), [](const Section& s) { return s.b1 == 0 && s.b2 == -s.b0; }) ? pass_band : pass;
  run(sections.data(), steady.data(), count, x - pad, length + 2 * pad, 1);
  run(sections.data(), steady.data(), count, x + length - 1 + pad, length + 2 * pad, -1);
}

void filter_zero_phase(const Sections& sections, double* x, std::int64_t channels, std::int64_t length) {
  thread_local LaneBuffer buffer;
  const std::int64_t pad = padding(sections);
  Lanes* lanes = buffer.resize(length + 2 * pad) + pad;
  for (std::int64_t first = 0; first < channels; first += kLanes) {
    const int n = static_cast<int>(std::min<std::int64_t>(kLanes, channels - first));
    std::array<double*, kLanes> rows{};
    for (int c = 0; c < n; ++c) rows[static_cast<std::size_t>(c)] = x + (first + c) * length;
    interleave(rows.data(), n, length, lanes);
    filter_zero_phase(sections, lanes, length);
    deinterleave(lanes, n, length, rows.data());
  }
}

}  // namespace sslmed::transforms
