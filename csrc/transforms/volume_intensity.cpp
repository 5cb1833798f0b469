#include "transforms/volume_intensity.h"

#include <cmath>
#include <sstream>

#include "core/error.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {
namespace {

void check_probability(double value, const char* name) { require(value >= 0 && value <= 1, name, value, "must be within 0 and 1"); }

void check_strength(double value, double most, const char* name) {
  std::ostringstream text;
  text << "must be within 0 and " << most;
  require(value >= 0 && value <= most, name, value, text.str());
}

template <class T>
void check_range(const std::array<T, 2>& range, double least, double most, const char* name) {
  std::ostringstream text;
  text << name << "=(" << range[0] << ", " << range[1] << ") must be " << least << " <= low <= high <= " << most;
  if (!(static_cast<double>(range[0]) >= least && range[0] <= range[1] && static_cast<double>(range[1]) <= most)) throw ValueError(text.str());
}

double within(Philox& random, double low, double high) { return low + (high - low) * random.uniform(); }
double within(Philox& random, const std::array<double, 2>& range) { return within(random, range[0], range[1]); }

// Like TorchIO: evenly spaced times, each shifted by up to .3 of their distance.
MotionPlan draw_motion(const VolumeIntensityOptions& options, Philox& random) {
  MotionPlan plan;
  plan.axis = static_cast<int>(random.below(3));
  const double step = 1.0 / static_cast<double>(options.movements + 1);
  for (std::int64_t i = 0; i < options.movements; ++i) {
    Movement movement;
    movement.time = step * (static_cast<double>(i + 1) + within(random, -0.3, 0.3));
    for (auto& degrees : movement.degrees) degrees = within(random, -options.degrees, options.degrees);
    for (auto& mm : movement.translation) mm = within(random, -options.translation, options.translation);
    plan.movements.push_back(movement);
  }
  return plan;
}

GhostingPlan draw_ghosting(const VolumeIntensityOptions& options, Philox& random) {
  GhostingPlan plan;
  plan.axis = static_cast<int>(random.below(3));
  plan.ghosts = options.ghosts[0] + random.below(static_cast<std::uint32_t>(options.ghosts[1] - options.ghosts[0] + 1));
  plan.intensity = within(random, options.ghosting);
  return plan;
}

}  // namespace

void check(const VolumeIntensityOptions& options) {
  check_probability(options.p_inversion, "p_inversion");
  check_probability(options.p_gamma, "p_gamma");
  check_probability(options.p_motion, "p_motion");
  check_probability(options.p_ghosting, "p_ghosting");
  check_probability(options.p_blur, "p_blur");
  check_probability(options.p_bias, "p_bias");
  check_probability(options.p_noise, "p_noise");
  check_range(options.log_gamma, -4, 4, "log_gamma");
  check_strength(options.degrees, 180, "degrees");
  check_strength(options.translation, 1000, "translation");
  require(options.movements >= 1 && options.movements <= 64, "movements", options.movements, "must be within 1 and 64");
  check_range(options.ghosts, 1, 1024, "ghosts");
  check_range(options.ghosting, 0, 10, "ghosting");
  check_range(options.blur_sigma, 0, 100, "blur_sigma");
  check_strength(options.bias, 10, "bias");
  check_range(options.noise_std, 0, 1e30, "noise_std");
}

VolumeIntensityPlan plan_intensity(const VolumeIntensityOptions& options, Philox& random) {
  check(options);
  VolumeIntensityPlan plan;
  plan.inversion = random.uniform() < options.p_inversion;
  const bool gamma = random.uniform() < options.p_gamma, motion = random.uniform() < options.p_motion, ghosting = random.uniform() < options.p_ghosting;
  const bool blur = random.uniform() < options.p_blur, bias = random.uniform() < options.p_bias, noise = random.uniform() < options.p_noise;
  const double exponent = std::exp(within(random, options.log_gamma));
  if (gamma) plan.gamma = exponent;
  const auto drawn_ghosting = draw_ghosting(options, random);
  if (ghosting) plan.ghosting = drawn_ghosting;
  for (auto& sigma : plan.blur_sigma) {
    const double mm = within(random, options.blur_sigma);
    if (blur) sigma = mm;
  }
  for (int i = 0; i < kBiasCoefficients; ++i) {
    const double coefficient = within(random, -options.bias, options.bias);
    if (bias) plan.bias.push_back(coefficient);
  }
  const double std = within(random, options.noise_std);
  if (noise) plan.noise_std = std;
  for (auto& word : plan.noise_key) word = random.next_u32();
  if (motion) plan.motion = draw_motion(options, random);  // last: of options.movements numbers
  return plan;
}

void apply_intensity(const VolumeIntensityPlan& plan, const FloatVolume& volume) {
  const auto n = volume.size();
  if (plan.inversion) volume_inversion(volume.values, n);
  if (plan.gamma != 1) volume_gamma(volume.values, n, plan.gamma);
  volume_motion(volume, plan.motion);
  volume_ghosting(volume, plan.ghosting);
  volume_blur(volume, plan.blur_sigma);
  if (!plan.bias.empty()) volume_bias(volume, plan.bias);
  if (plan.noise_std > 0) volume_noise(volume.values, n, plan.noise_std, plan.noise_key);
}

}  // namespace sslmed::transforms
