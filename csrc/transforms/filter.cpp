#include "transforms/filter.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <string>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

using Complex = std::complex<double>;
constexpr int kLanes = 8;
// Eight channels side by side: the recursion in time is serial, so the channels are what fills a vector register.
typedef double Vector __attribute__((vector_size(kLanes * sizeof(double))));

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

struct State {
  Vector z0, z1;
};

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

// One pass over eight interleaved channels, from x[0] on in steps of `step`.
SSLMED_CLONES void pass(const Section* sections, const double* steady, int n_sections, Vector* x, std::int64_t length, std::int64_t step) {
  State states[32];
  for (int s = 0; s < n_sections; ++s) {
    states[s].z0 = x[0] * steady[2 * s];
    states[s].z1 = x[0] * steady[2 * s + 1];
  }
  for (std::int64_t t = 0; t < length; ++t) {
    Vector value = x[t * step];
    for (int s = 0; s < n_sections; ++s) {
      const Section& c = sections[s];
      State& state = states[s];
      const Vector y = c.b0 * value + state.z0;
      state.z0 = c.b1 * value - c.a1 * y + state.z1;
      state.z1 = c.b2 * value - c.a2 * y;
      value = y;
    }
    x[t * step] = value;
  }
}

}  // namespace

Sections butterworth(int order, double low, double high, double sfreq) {
  const double nyquist = sfreq / 2;
  if (order < 1 || order > 16 || !(sfreq > 0) || low < 0 || high < 0 || (low == 0 && high == 0) || !(low < nyquist) || !(high < nyquist) ||
      (high > 0 && !(low < high)))
    throw ValueError("a filter needs 0 < low < high < " + std::to_string(nyquist) + " Hz and an order of 1 to 16; got low " + std::to_string(low) + ", high " +
                     std::to_string(high) + ", order " + std::to_string(order));
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
  if (!(freq > 0) || !(freq < sfreq / 2) || !(quality > 0))
    throw ValueError("a notch needs 0 < freq < " + std::to_string(sfreq / 2) + " Hz and quality > 0; got " + std::to_string(freq) + " Hz");
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

void filter_zero_phase(const Sections& sections, double* x, std::int64_t channels, std::int64_t length) {
  if (sections.empty()) return;
  if (sections.size() > 32) throw ValueError("at most 32 second-order sections");
  const std::int64_t pad = padding(sections);
  if (length <= pad)
    throw ValueError("a signal of " + std::to_string(length) + " samples is too short for this filter: it needs more than " + std::to_string(pad));
  const auto steady = steady_state(sections);
  const std::int64_t padded = length + 2 * pad;
  thread_local std::vector<double> storage;
  storage.resize(static_cast<std::size_t>(padded * kLanes + kLanes));
  // Vector access needs its own alignment, which std::vector<double> does not promise.
  auto* lanes = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(storage.data()) + sizeof(Vector) - 1) / sizeof(Vector) * sizeof(Vector));
  auto* block = reinterpret_cast<Vector*>(lanes);
  for (std::int64_t first = 0; first < channels; first += kLanes) {
    const std::int64_t n = std::min<std::int64_t>(kLanes, channels - first);
    for (std::int64_t c = 0; c < kLanes; ++c) {
      const double* row = x + (first + std::min(c, n - 1)) * length;  // spare lanes repeat the last channel
      for (std::int64_t t = 0; t < length; ++t) lanes[(pad + t) * kLanes + c] = row[t];
      for (std::int64_t t = 0; t < pad; ++t) {  // odd extension
        lanes[t * kLanes + c] = 2 * row[0] - row[pad - t];
        lanes[(pad + length + t) * kLanes + c] = 2 * row[length - 1] - row[length - 2 - t];
      }
    }
    const int count = static_cast<int>(sections.size());
    pass(sections.data(), steady[0].data(), count, block, padded, 1);
    pass(sections.data(), steady[0].data(), count, block + padded - 1, padded, -1);
    for (std::int64_t c = 0; c < n; ++c) {
      double* row = x + (first + c) * length;
      for (std::int64_t t = 0; t < length; ++t) row[t] = lanes[(pad + t) * kLanes + c];
    }
  }
}

}  // namespace sslmed::transforms
