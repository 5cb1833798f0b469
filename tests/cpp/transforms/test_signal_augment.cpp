#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "transforms/filter.h"
#include "transforms/signal_augment.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

std::vector<float> waves(std::int64_t channels, std::int64_t length, double sfreq) {
  std::vector<float> out;
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t t = 0; t < length; ++t)
      out.push_back(static_cast<float>(std::sin(2 * std::numbers::pi * static_cast<double>(4 * (c + 1)) * static_cast<double>(t) / sfreq)));
  return out;
}

struct Changed {
  SignalPlan plan;
  std::vector<float> values;
};

Changed changed(const SignalAugmentation& how, std::uint64_t index, std::int64_t channels = 3, std::int64_t length = 400, double sfreq = 100) {
  Philox random({1, 0, index}, Stream::kSignal);
  Changed out{plan_signal(channels, length, sfreq, how, random), waves(channels, length, sfreq)};
  apply_signal(out.plan, sfreq, channels, length, random, out.values.data());
  return out;
}

}  // namespace

TEST_CASE("nothing changes where nothing is asked for") { CHECK(changed({}, 0).values == waves(3, 400, 100)); }

TEST_CASE("a shifted signal is the same one, around its end") {
  SignalAugmentation how;
  how.p_shift = 1;
  const auto before = waves(3, 400, 100);
  bool later = false, earlier = false;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto [plan, after] = changed(how, i);
    CHECK(std::abs(plan.shift) <= 25);
    later |= plan.shift > 0;
    earlier |= plan.shift < 0;
    for (std::int64_t t = 0; t < 400; ++t)
      CHECK(after[static_cast<std::size_t>(400 + (t + plan.shift + 400) % 400)] == before[static_cast<std::size_t>(400 + t)]);
  }
  CHECK(later);
  CHECK(earlier);
}

TEST_CASE("each channel has a factor of its own, and all have one sign") {
  SignalAugmentation how;
  how.p_scale = how.p_flip = 1;
  const auto before = waves(3, 400, 100);
  const auto [plan, after] = changed(how, 3);
  CHECK(plan.factors[0] != plan.factors[1]);
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(plan.factors[c] <= -0.5);
    CHECK(plan.factors[c] >= -2);
    for (std::size_t t = 0; t < 400; ++t) CHECK(after[400 * c + t] == static_cast<float>(before[400 * c + t] * plan.factors[c]));
  }
}

TEST_CASE("noise has the drawn share of a channel's deviation") {
  SignalAugmentation how;
  how.p_noise = 1;
  how.noise_low = how.noise_high = 0.2;
  const auto before = waves(2, 20000, 100);
  const auto [plan, after] = changed(how, 3, 2, 20000);
  double squares = 0;
  for (std::size_t i = 0; i < before.size(); ++i) squares += std::pow(after[i] - before[i], 2);
  CHECK(std::sqrt(squares / static_cast<double>(before.size())) == Approx(0.2 / std::numbers::sqrt2).epsilon(0.03));
}

TEST_CASE("a stretch of time is zero on all channels, and dropped channels are zero") {
  SignalAugmentation how;
  how.p_time_mask = how.p_channel_drop = 1;
  how.channel_drop = 0.5;
  double dropped = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const auto [plan, after] = changed(how, i, 5);
    const auto before = waves(5, 400, 100);
    CHECK(plan.mask_last - plan.mask_first <= 75);
    CHECK(std::count(plan.kept.begin(), plan.kept.end(), 1) >= 1);
    dropped += static_cast<double>(std::count(plan.kept.begin(), plan.kept.end(), 0));
    for (std::int64_t c = 0; c < 5; ++c)
      for (std::int64_t t = 0; t < 400; ++t) {
        const auto at = static_cast<std::size_t>(400 * c + t);
        const bool gone = plan.kept[static_cast<std::size_t>(c)] == 0 || (t >= plan.mask_first && t < plan.mask_last);
        if (after[at] != (gone ? 0.0F : before[at])) FAIL("channel " << c << ", sample " << t);
      }
  }
  CHECK(dropped / 1000 == Approx(0.5).margin(0.06));
}

TEST_CASE("a stopped band is a notch of its width, forward and backward") {
  SignalAugmentation how;
  how.p_band_stop = 1;
  const auto [plan, after] = changed(how, 5);
  CHECK(plan.stop >= 2.8);
  CHECK(plan.stop <= 47.5);  // half of 5 Hz below the Nyquist rate
  CHECK(plan.stop / plan.stop_quality == Approx(5));
  const auto before = waves(3, 400, 100);
  std::vector<double> exact(before.begin(), before.end());
  filter_zero_phase(notch(plan.stop, plan.stop / 5, 100), exact.data(), 3, 400);
  for (std::size_t i = 0; i < exact.size(); ++i) CHECK(after[i] == static_cast<float>(exact[i]));
  // None fits below a slow recording's Nyquist rate.
  CHECK(changed(how, 5, 1, 400, 8).plan.stop == 0);
}

TEST_CASE("changes of signals that cannot be are refused by their names") {
  const auto refused = [](double SignalAugmentation::*member, double value, const char* name) {
    SignalAugmentation how;
    how.*member = value;
    CHECK_THROWS_WITH(check(how), Catch::Contains(name));
  };
  refused(&SignalAugmentation::p_shift, 1.1, "p_shift");
  refused(&SignalAugmentation::p_noise, -0.1, "p_noise");
  refused(&SignalAugmentation::channel_drop, 1, "channel_drop");
  refused(&SignalAugmentation::max_shift, -1, "max_shift");
  refused(&SignalAugmentation::max_time_mask, -1, "max_time_mask");
  refused(&SignalAugmentation::band_width, 0, "band_width");
  refused(&SignalAugmentation::band_low, 90, "band");
  refused(&SignalAugmentation::scale_low, 0, "scale");
  refused(&SignalAugmentation::noise_high, -1, "noise_std");
}
