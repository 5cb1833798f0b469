#pragma once
// Polyphase resampling by a rational factor with a Kaiser-windowed (beta 5) low-pass, as scipy.signal.resample_poly.

#include <cstdint>
#include <vector>

#include "core/simd.h"

namespace sslmed::transforms {

class Resampler {
 public:
  // up / down in lowest terms is found here. ValueError unless both are positive and at most 100,000.
  Resampler(std::int64_t up, std::int64_t down);
  // The factor nearest to `to` / `from` (Hz) with terms of at most 1,000, or 10,000 where that is off by over 0.01 %.
  static Resampler between(double from, double to);

  std::int64_t up() const noexcept { return up_; }
  std::int64_t down() const noexcept { return down_; }
  bool is_identity() const noexcept { return up_ == down_; }
  std::int64_t output_length(std::int64_t length) const { return (length * up_ + down_ - 1) / down_; }
  // x [channels, length] to y [channels, output_length(length)]; the signal is taken as zero outside.
  void apply(const double* x, std::int64_t channels, std::int64_t length, double* y) const;
  // Outputs [first, first + n) of a block of lanes.
  void apply(const Lanes* x, std::int64_t length, std::int64_t first, std::int64_t n, Lanes* y) const;
  // Input samples on each side that an output depends on.
  std::int64_t reach() const noexcept { return half_ / up_ + 1; }

 private:
  std::int64_t up_, down_, half_ = 0;
  // taps_[phase] holds the coefficients of the inputs of that phase, oldest first, so that an output is one weighted sum.
  std::vector<std::vector<double>> taps_;
};

}  // namespace sslmed::transforms
