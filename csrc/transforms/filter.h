#pragma once
// Zero-phase IIR filtering by second-order sections, forward and backward, with the edge handling of scipy.signal.sosfiltfilt.

#include <array>
#include <cstdint>
#include <vector>

#include "core/simd.h"

namespace sslmed::transforms {

// b0 b1 b2 / 1 a1 a2
struct Section {
  double b0, b1, b2, a1, a2;
};
using Sections = std::vector<Section>;

// Butterworth of `order` (of the low-pass prototype). low or high of 0 means none: high-pass, low-pass or band-pass follow.
// Hz; ValueError unless 0 < low < high < sfreq/2.
Sections butterworth(int order, double low, double high, double sfreq);
// Second-order notch at `freq` with quality factor `quality`, as scipy.signal.iirnotch.
Sections notch(double freq, double quality, double sfreq);

// Filters x [channels, length] in place, forward and backward. ValueError when length is not above the padding needed.
void filter_zero_phase(const Sections& sections, double* x, std::int64_t channels, std::int64_t length);
// The same for a block of lanes [length]. The padding(sections) places before and after it are written to.
void filter_zero_phase(const Sections& sections, Lanes* x, std::int64_t length);
// Samples that filter_zero_phase pads at each side; the shortest signal it takes is one longer.
std::int64_t padding(const Sections& sections);

}  // namespace sslmed::transforms
