#include "transforms/signal_augment.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "transforms/filter.h"

namespace sslmed::transforms {
namespace {

double evenly(Philox& random, double low, double high) { return low + (high - low) * random.uniform(); }

bool comes(Philox& random, double p) { return p > 0 && random.uniform() < p; }

void draw_kept(double share, Philox& random, std::vector<std::uint8_t>& kept) {
  const auto stays = random.below(static_cast<std::uint32_t>(kept.size()));
  for (auto& keep : kept) keep = random.uniform() >= share ? 1 : 0;
  if (std::count(kept.begin(), kept.end(), 1) == 0) kept[stays] = 1;
}

void stop_band(const SignalPlan& plan, double sfreq, std::int64_t channels, std::int64_t length, float* values) {
  thread_local std::vector<double> exact;
  exact.assign(values, values + channels * length);
  filter_zero_phase(notch(plan.stop, plan.stop_quality, sfreq), exact.data(), channels, length);
  std::transform(exact.begin(), exact.end(), values, [](double value) { return static_cast<float>(value); });
}

void add_noise(double share, std::int64_t length, Philox& random, float* row) {
  double sum = 0, squares = 0;
  for (std::int64_t t = 0; t < length; ++t) sum += row[t];
  const double mean = sum / static_cast<double>(length);
  for (std::int64_t t = 0; t < length; ++t) squares += (row[t] - mean) * (row[t] - mean);
  const double deviation = share * std::sqrt(squares / static_cast<double>(length));
  for (std::int64_t t = 0; t < length; ++t) row[t] += static_cast<float>(deviation * random.normal());
}

}  // namespace

void check(const SignalAugmentation& how) {
  // By the names of sslmed.EegAugmentation.
  for (const auto& [value, name] : {std::pair{how.p_shift, "p_shift"},
                                    {how.p_band_stop, "p_band_stop"},
                                    {how.p_scale, "p_scale"},
                                    {how.p_flip, "p_flip"},
                                    {how.p_noise, "p_noise"},
                                    {how.p_time_mask, "p_time_mask"},
                                    {how.p_channel_drop, "p_channel_drop"}})
    require(value >= 0 && value <= 1, name, value, "must be within [0, 1]");
  require(how.channel_drop >= 0 && how.channel_drop < 1, "channel_drop", how.channel_drop, "must be within [0, 1)");
  require(how.max_shift >= 0 && std::isfinite(how.max_shift), "max_shift", how.max_shift, "s must not be negative");
  require(how.max_time_mask >= 0 && std::isfinite(how.max_time_mask), "max_time_mask", how.max_time_mask, "s must not be negative");
  require(how.band_width > 0 && std::isfinite(how.band_width), "band_width", how.band_width, "Hz must be positive");
  const auto ordered = [](double low, double high, double least, const char* name, const char* rule) {
    if (low >= least && low <= high && std::isfinite(high)) return;
    throw ValueError(std::string(name) + "=(" + std::to_string(low) + ", " + std::to_string(high) + ") must be " + rule);
  };
  ordered(how.band_low, how.band_high, 1e-6, "band", "0 < lowest <= highest, in Hz");
  ordered(how.scale_low, how.scale_high, 1e-6, "scale", "0 < lowest <= highest");
  ordered(how.noise_low, how.noise_high, 0, "noise_std", "0 <= lowest <= highest");
}

SignalPlan plan_signal(std::int64_t channels, std::int64_t length, double sfreq, const SignalAugmentation& how, Philox& random) {
  SignalPlan plan;
  plan.factors.assign(static_cast<std::size_t>(channels), 1);
  plan.kept.assign(static_cast<std::size_t>(channels), 1);
  if (comes(random, how.p_shift)) plan.shift = std::llround(evenly(random, -how.max_shift, how.max_shift) * sfreq);
  // Not of a band that reaches beyond what the sampling rate can show.
  const double highest = std::min(how.band_high, sfreq / 2 - how.band_width / 2);
  if (comes(random, how.p_band_stop) && highest > how.band_low) {
    plan.stop = evenly(random, how.band_low, highest);
    plan.stop_quality = plan.stop / how.band_width;
  }
  if (comes(random, how.p_scale))
    for (auto& factor : plan.factors) factor = evenly(random, how.scale_low, how.scale_high);
  if (comes(random, how.p_flip))
    for (auto& factor : plan.factors) factor = -factor;
  if (comes(random, how.p_noise)) plan.noise = evenly(random, how.noise_low, how.noise_high);
  if (comes(random, how.p_time_mask)) {
    const auto samples = std::min<std::int64_t>(length, std::llround(evenly(random, 0, how.max_time_mask) * sfreq));
    plan.mask_first = random.below(static_cast<std::uint32_t>(length - samples + 1));
    plan.mask_last = plan.mask_first + samples;
  }
  if (comes(random, how.p_channel_drop)) draw_kept(how.channel_drop, random, plan.kept);
  return plan;
}

void apply_signal(const SignalPlan& plan, double sfreq, std::int64_t channels, std::int64_t length, Philox& random, float* values) {
  if (plan.stop > 0) stop_band(plan, sfreq, channels, length, values);
  for (std::int64_t c = 0; c < channels; ++c) {
    auto* row = values + c * length;
    if (plan.kept[static_cast<std::size_t>(c)] == 0) {
      std::fill_n(row, length, 0.0F);
      continue;
    }
    const auto later = (plan.shift % length + length) % length;
    if (later != 0) std::rotate(row, row + length - later, row + length);
    if (const auto factor = plan.factors[static_cast<std::size_t>(c)]; factor != 1)
      for (std::int64_t t = 0; t < length; ++t) row[t] = static_cast<float>(row[t] * factor);
    if (plan.noise > 0) add_noise(plan.noise, length, random, row);
    std::fill(row + plan.mask_first, row + plan.mask_last, 0.0F);
  }
}

}  // namespace sslmed::transforms
