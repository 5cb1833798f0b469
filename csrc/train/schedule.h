#pragma once
// Learning-rate schedules: pure functions of the step.

#include <cmath>
#include <cstdint>
#include <numbers>

namespace sslmed::train {

// Linear warm-up from 0 to `peak` over `warmup` steps, then half a cosine down to `floor` at `total` (MAE's schedule).
// `step` counts from 0; the first step of a warm-up already moves. `start`: where the warm-up comes from.
inline double warmup_cosine(std::int64_t step, std::int64_t total, std::int64_t warmup, double peak, double floor, double start = 0) {
  if (step < warmup) return start + (peak - start) * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (total <= warmup) return peak;
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
  return floor + 0.5 * (peak - floor) * (1 + std::cos(std::numbers::pi * progress));
}

// Half a cosine from `from` at step 0 to `to` at `total`: I-JEPA's and DINO's weight decay.
inline double cosine(std::int64_t step, std::int64_t total, double from, double to) {
  return to + 0.5 * (from - to) * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(total)));
}

}  // namespace sslmed::train
