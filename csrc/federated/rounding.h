#pragma once
// Stochastic rounding to whole steps: a value goes up with the chance that makes its mean right.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/simd.h"

namespace sslmed::federated {

// A step as two factors: its inverse alone is infinite for steps below 3e-39.
struct InverseStep {
  float boost, inverse;

  explicit InverseStep(float step) : boost(step < 0x1p-100f ? 0x1p+100f : 1.0f), inverse(1.0f / (step * boost)) {}
};

// codes[i]: round(values[i] / step) + levels, by magnitude, at most `levels` from the middle. step > 0.
SSLMED_INLINE void round_around_zero(const float* values, const std::uint32_t* words, std::size_t n, float step, int levels, std::uint8_t* codes) {
  const InverseStep by(step);
  for (std::size_t i = 0; i < n; ++i) {
    const float steps = std::fabs(values[i]) * by.boost * by.inverse;
    const int low = static_cast<int>(steps);
    const float chance = steps - static_cast<float>(low), draw = static_cast<float>(static_cast<int>(words[i] >> 8)) * 0x1p-24f;
    const int up = low + (draw < chance ? 1 : 0), level = up < levels ? up : levels;
    codes[i] = static_cast<std::uint8_t>(levels + (values[i] < 0 ? -level : level));
  }
}

// codes[i]: round((values[i] - low) / step), at most `top`. step > 0, values not below `low`.
SSLMED_INLINE void round_from(float lowest, const float* values, const std::uint32_t* words, std::size_t n, float step, int top, std::uint8_t* codes) {
  const InverseStep by(step);
  for (std::size_t i = 0; i < n; ++i) {
    const float steps = (values[i] - lowest) * by.boost * by.inverse;
    const int low = static_cast<int>(steps);
    const float chance = steps - static_cast<float>(low), draw = static_cast<float>(static_cast<int>(words[i] >> 8)) * 0x1p-24f;
    const int up = low + (draw < chance ? 1 : 0);
    codes[i] = static_cast<std::uint8_t>(up < top ? up : top);
  }
}

}  // namespace sslmed::federated
