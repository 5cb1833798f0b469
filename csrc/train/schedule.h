#pragma once
// Learning-rate schedules: pure functions of the step.

#include <cmath>
#include <cstdint>
#include <numbers>

namespace sslmed::train {

// Linear warm-up from 0 to `peak` over `warmup` steps, then half a cosine down to `floor` at `total` (MAE's schedule).
// `step` counts from 0; the first step of a warm-up already moves.
inline double warmup_cosine(std::int64_t step, std::int64_t total, std::int64_t warmup, double peak, double floor) {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (total <= warmup) return peak;
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
  return floor + 0.5 * (peak - floor) * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace sslmed::train
