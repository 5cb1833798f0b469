#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "transforms/volume_intensity.h"
#include "transforms/volume_kspace.h"
#include "transforms/voxel.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

struct OwnVolume {
  std::vector<float> values;
  std::array<std::int64_t, 3> shape;
  std::array<double, 3> spacing{1, 1, 1};

  OwnVolume(std::int64_t x, std::int64_t y, std::int64_t z, std::uint64_t seed = 1) : values(static_cast<std::size_t>(x * y * z)), shape{x, y, z} {
    Philox random({seed, 0, 0}, Stream::kAugment);
    for (auto& value : values) value = static_cast<float>(random.normal());
  }
  FloatVolume view() { return {values.data(), shape, spacing}; }
  std::int64_t size() const { return static_cast<std::int64_t>(values.size()); }
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

}  // namespace

TEST_CASE("voxels' exponentials, powers and roots are those of the standard library") {
  Philox random({3, 0, 0}, Stream::kAugment);
  for (int i = 0; i < 20000; ++i) {
    const auto x = static_cast<float>(174 * random.uniform() - 87);
    CHECK(std::abs(exp_of(x) / std::exp(static_cast<double>(x)) - 1) < 4e-7);
    const auto base = static_cast<float>(std::exp(40 * random.uniform() - 20)), gamma = static_cast<float>(std::exp(2 * random.uniform() - 1));
    const double power = std::pow(static_cast<double>(base), static_cast<double>(gamma));
    CHECK(std::abs(gamma_changed(base, gamma_of(gamma)) / power - 1) < 4e-7);
    CHECK(gamma_changed(-base, gamma_of(gamma)) == -gamma_changed(base, gamma_of(gamma)));
    CHECK(std::abs(root_of(base) / std::sqrt(static_cast<double>(base)) - 1) < 3e-7);
  }
  CHECK(exp_of(0) == 1);
  CHECK(gamma_changed(0, gamma_of(0.3F)) == 0);
  CHECK(gamma_changed(1, gamma_of(0.3F)) == 1);
  CHECK(root_of(0) == 0);
  CHECK(std::isnan(exp_of(NAN)));
  CHECK(std::isnan(gamma_changed(NAN, gamma_of(2))));
}

TEST_CASE("normal numbers are Box and Muller's of the words of Philox") {
  const NoiseKey key{0x12345678u, 0x9abcdef0u};
  std::vector<float> numbers(200);
  normal_numbers(key, 64, 200, numbers.data());
  for (std::int64_t i = 0; i < 200; ++i) {
    const std::int64_t voxel = 64 + i, run = voxel / 64 * 64, within = voxel % 32;
    const auto word = [&](std::int64_t at) {
      const auto block = philox4x32({static_cast<std::uint32_t>(at / 4), 0, 0, 0}, key);
      return block[static_cast<std::size_t>(at % 4)];
    };
    const double u = ((word(run + within) >> 8) + 1.0) / (1 << 24), turn = 2 * std::numbers::pi * word(run + within + 32) / 4294967296.0;
    const double expected = std::sqrt(-2 * std::log(u)) * (voxel % 64 < 32 ? std::cos(turn) : std::sin(turn));
    CHECK(numbers[static_cast<std::size_t>(i)] == Approx(expected).margin(2e-6));
  }
}

TEST_CASE("blocks of Philox are the same one by one and many at a time") {
  const NoiseKey key{7, 8};
  std::uint32_t words[4 * Philox::kBlocks];
  const std::uint64_t first = (std::uint64_t{1} << 32) - 5, index = 0x1122334455667788u;  // the counter's first word overflows on the way
  philox_words(first, index, key, words);
  for (std::uint32_t b = 0; b < Philox::kBlocks; ++b) {
    const std::uint64_t block = first + b;
    const auto expected = philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0x55667788u, 0x11223344u}, key);
    for (std::size_t i = 0; i < 4; ++i) CHECK(words[4 * b + i] == expected[i]);
  }
}

TEST_CASE("a bias field of order 1 is an exponential along its axis") {
  OwnVolume volume(5, 3, 4);
  std::fill(volume.values.begin(), volume.values.end(), 2.0F);
  volume_bias(volume.view(), {0.5, 0, -1, 0});  // constant, z, y, x
  for (std::size_t i = 0; i < volume.values.size(); ++i) {
    const double y = static_cast<double>(i / 4 % 3) - 1;
    CHECK(volume.values[i] == Approx(2 * std::exp(0.5 - y)));
  }
  CHECK_THROWS_AS(volume_bias(volume.view(), {1, 2, 3}), ValueError);
}

TEST_CASE("blur keeps the sum of a volume and is symmetric about a point") {
  OwnVolume volume(9, 11, 70);
  std::fill(volume.values.begin(), volume.values.end(), 0.0F);
  volume.values[(4 * 11 + 5) * 70 + 35] = 1;
  volume.spacing = {1, 2, 0.5};
  volume_blur(volume.view(), {1.5, 0, 2});
  CHECK(std::accumulate(volume.values.begin(), volume.values.end(), 0.0) == Approx(1).epsilon(1e-5));
  const auto at = [&](std::int64_t x, std::int64_t y, std::int64_t z) { return volume.values[static_cast<std::size_t>((x * 11 + y) * 70 + z)]; };
  CHECK(at(4, 5, 35) > 0);
  for (std::int64_t d = 1; d < 5; ++d) CHECK(at(4 - d, 5, 35) == Approx(at(4 + d, 5, 35)).epsilon(1e-5));
  for (std::int64_t d = 1; d < 17; ++d) CHECK(at(4, 5, 35 - d) == Approx(at(4, 5, 35 + d)).epsilon(1e-5));
  CHECK(at(4, 4, 35) == 0);  // a standard deviation of 0 leaves an axis alone
  CHECK_THROWS_AS(volume_blur(volume.view(), {-1, 0, 0}), ValueError);
}

TEST_CASE("parts of spectra are those of a Fourier transform") {
  const std::int64_t n = GENERATE(1, 2, 7, 16, 29);
  const int axis = GENERATE(0, 1, 2);
  std::array<std::int64_t, 3> shape{3, 18, 5};
  shape[static_cast<std::size_t>(axis)] = n;
  OwnVolume volume(shape[0], shape[1], shape[2], 4), other(shape[0], shape[1], shape[2], 5);
  const auto before = volume.values;
  Philox random({6, 0, 0}, Stream::kAugment);
  std::vector<double> of_other, of_nothing;
  for (std::int64_t k = 0; k < n; ++k) {
    of_other.push_back(random.uniform());
    of_nothing.push_back(random.uniform());
  }
  mix_spectra(volume.view(), axis, {{other.values.data(), of_other}, {nullptr, of_nothing}});
  const std::int64_t step = axis == 0 ? shape[1] * shape[2] : axis == 1 ? shape[2] : 1;
  std::vector<float> expected(volume.values.size());
  for (std::int64_t i = 0; i < volume.size(); ++i) {
    const std::int64_t t = i / step % n, start = i - t * step;
    std::complex<double> sum = 0;
    for (std::int64_t k = 0; k < n; ++k) {
      std::complex<double> mine = 0, theirs = 0;
      const double frequency = 2 * std::numbers::pi * static_cast<double>(k - n / 2) / static_cast<double>(n);
      for (std::int64_t u = 0; u < n; ++u) {
        const auto at = static_cast<std::size_t>(start + u * step);
        const auto wave = std::polar(1.0, -frequency * static_cast<double>(u));
        mine += static_cast<double>(before[at]) * wave;
        theirs += static_cast<double>(other.values[at]) * wave;
      }
      const double a = of_other[static_cast<std::size_t>(k)], b = of_nothing[static_cast<std::size_t>(k)];
      sum += ((1 - a - b) * mine + a * theirs) * std::polar(1.0, frequency * static_cast<double>(t));
    }
    expected[static_cast<std::size_t>(i)] = static_cast<float>(sum.real() / static_cast<double>(n));
  }
  CHECK(largest_difference(volume.values, expected) < 1e-5);
}

TEST_CASE("a movement by whole voxels moves voxels, and one of one voxel in depth works") {
  OwnVolume volume(6, 7, 8), flat(6, 7, 1);
  volume.spacing = flat.spacing = {2, 1, 0.5};
  std::vector<float> moved(volume.values.size()), moved_flat(flat.values.size());
  const Movement movement{0, {}, {2, -1, 1}};  // of 1, -1 and 2 voxels
  move_rigidly(volume.view(), movement, {}, -9, moved.data());
  for (std::int64_t x = 0; x < 6; ++x)
    for (std::int64_t y = 0; y < 7; ++y)
      for (std::int64_t z = 0; z < 8; ++z) {
        const bool inside = x + 1 < 6 && y - 1 >= 0 && z + 2 < 8;
        const float expected = inside ? volume.values[static_cast<std::size_t>(((x + 1) * 7 + y - 1) * 8 + z + 2)] : -9;
        CHECK(moved[static_cast<std::size_t>((x * 7 + y) * 8 + z)] == Approx(expected).margin(1e-5));
      }
  move_rigidly(flat.view(), {0, {}, {2, 0, 0}}, {}, -9, moved_flat.data());
  for (std::size_t i = 0; i < moved_flat.size(); ++i) CHECK(moved_flat[i] == Approx(i + 7 < 42 ? flat.values[i + 7] : -9).margin(1e-5));
}

TEST_CASE("what plans draw stays within the options, and each step is drawn as often as it should be") {
  VolumeIntensityOptions options;
  options.p_gamma = options.p_bias = options.p_motion = options.p_ghosting = options.p_blur = options.p_noise = 0.5;
  int gammas = 0, motions = 0, ghosts = 0, axes[3] = {};
  for (std::uint64_t i = 0; i < 2000; ++i) {
    Philox random({9, 0, i}, Stream::kAugment);
    const auto plan = plan_intensity(options, random);
    CHECK_FALSE(plan.inversion);
    gammas += plan.gamma != 1;
    CHECK(std::abs(std::log(plan.gamma)) <= 0.3 + 1e-12);
    motions += !plan.motion.movements.empty();
    ghosts += plan.ghosting.ghosts > 0;
    if (plan.ghosting.ghosts > 0) {
      CHECK((plan.ghosting.ghosts >= 4 && plan.ghosting.ghosts <= 10 && plan.ghosting.intensity >= 0.5 && plan.ghosting.intensity <= 1));
      ++axes[plan.ghosting.axis];
    }
    double before = 0;
    for (const auto& movement : plan.motion.movements) {
      CHECK((movement.time > before && movement.time < 1));
      before = movement.time;
      for (std::size_t a = 0; a < 3; ++a) CHECK((std::abs(movement.degrees[a]) <= 10 && std::abs(movement.translation[a]) <= 10));
    }
    CHECK((plan.bias.empty() || plan.bias.size() == 20));
    for (const double sigma : plan.blur_sigma) CHECK((sigma >= 0 && sigma <= 2));
    CHECK((plan.noise_std >= 0 && plan.noise_std <= 0.25));
  }
  for (const int count : {gammas, motions, ghosts}) CHECK(std::abs(count - 1000) < 120);
  for (const int count : axes) CHECK(count > 200);
}

TEST_CASE("options out of range are refused") {
  const auto refused = [](auto change) {
    VolumeIntensityOptions options;
    change(options);
    CHECK_THROWS_AS(check(options), ValueError);
  };
  CHECK_NOTHROW(check(VolumeIntensityOptions{}));
  refused([](auto& o) { o.p_gamma = -0.1; });
  refused([](auto& o) { o.p_noise = NAN; });
  refused([](auto& o) { o.log_gamma = {1, 0}; });
  refused([](auto& o) { o.ghosts = {0, 3}; });
  refused([](auto& o) { o.movements = 0; });
  refused([](auto& o) { o.bias = -1; });
  refused([](auto& o) { o.noise_std = {0, INFINITY}; });
}
