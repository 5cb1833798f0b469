#pragma once
// Random changes of a window of a multichannel signal, drawn from one sequence of numbers (Mohsenvand et al., ML4H 2020;
// Rommel et al., arXiv 2206.14483).

#include <cstdint>
#include <vector>

#include "core/random.h"

namespace sslmed::transforms {

// Probabilities are those of a window; where a change comes, its strength is drawn evenly from its range.
struct SignalAugmentation {
  // s: all channels move alike, and what leaves at one end comes in at the other.
  double p_shift = 0, max_shift = 0.25;
  // Hz: a band of all channels, around a frequency between the two.
  double p_band_stop = 0, band_width = 5, band_low = 2.8, band_high = 82.5;
  // A factor for each channel.
  double p_scale = 0, scale_low = 0.5, scale_high = 2;
  // The sign, of all channels.
  double p_flip = 0;
  // Standard deviation, as a share of each channel's own.
  double p_noise = 0, noise_low = 0, noise_high = 0.2;
  // s of all channels that are set to 0.
  double p_time_mask = 0, max_time_mask = 0.75;
  // Probability of each channel to be dropped.
  double p_channel_drop = 0, channel_drop = 0.2;
};

// ValueError that names the parameter that is out of range.
void check(const SignalAugmentation& augmentation);

// One window's changes but for its noise, which is drawn value by value.
struct SignalPlan {
  std::int64_t shift = 0;             // samples by which values come later
  double stop = 0, stop_quality = 0;  // Hz and quality of a notch; 0: none
  std::vector<double> factors;        // [channels]; the sign is in them
  double noise = 0;                   // standard deviation as a share of the channel's
  std::int64_t mask_first = 0, mask_last = 0;
  std::vector<std::uint8_t> kept;  // [channels]; one at least
};

SignalPlan plan_signal(std::int64_t channels, std::int64_t length, double sfreq, const SignalAugmentation& how, Philox& random);

// Changes values [channels, length]; those of dropped channels become 0.
void apply_signal(const SignalPlan& plan, double sfreq, std::int64_t channels, std::int64_t length, Philox& random, float* values);

}  // namespace sslmed::transforms
