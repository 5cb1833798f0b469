#pragma once
// Reference and scale of multichannel signals; channels that carry no signal are found, marked and kept out.

#include <cstdint>
#include <vector>

namespace sslmed::transforms {

enum class Scaling { kNone, kZScore, kRobust };

// One flag a channel of x [channels, length]: false where it is flat (peak to peak not above `flat` in the signal's unit)
// or holds a non-finite value.
std::vector<char> good_channels(const double* x, std::int64_t channels, std::int64_t length, double flat = 0.0);
std::vector<char> good_channels(const float* x, std::int64_t channels, std::int64_t length, double flat = 0.0);

// Subtracts the mean over good channels from every good channel; bad ones stay as they are.
void average_reference(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good);

// Good channels, each by itself: (x - mean) / std (population) or (x - median) / (IQR / 1.349), then clipped to ±clip
// (0: not clipped). A channel whose spread is zero becomes zero. Bad channels become zero. With kNone x / unit.
void scale_channels(double* x, std::int64_t channels, std::int64_t length, const std::vector<char>& good, Scaling scaling, double clip, double unit = 1);

}  // namespace sslmed::transforms
