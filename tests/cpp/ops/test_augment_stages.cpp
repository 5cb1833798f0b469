// The CUDA kernels' stages against the CPU's augmentation: one element after the other, and as kernels on threads of the CPU.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "ops/cuda/augment_kernel.cu"
#include "transforms/augment.h"
#include "transforms/stain.h"

using namespace sslmed;
using namespace sslmed::transforms;
using namespace sslmed::ops::cuda;

namespace {

// What a block of threads does together, by one.
struct OneThread {
  template <class F>
  void each(std::int64_t n, F f) {
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
  template <class F>
  void once(F f) {
    f();
  }
  template <std::size_t kMany, class F>
  void sums(std::int64_t n, double (&totals)[kMany], F f) {
    std::fill(totals, totals + kMany, 0.0);
    for (std::int64_t i = 0; i < n; ++i) f(i, totals);
  }
  float nth(const float* keys, std::int64_t n, std::int64_t k) {
    std::vector<float> sorted(keys, keys + n);
    std::nth_element(sorted.begin(), sorted.begin() + k, sorted.end());
    return sorted[static_cast<std::size_t>(k)];
  }
};

enum class As { kStages, kKernels };

template <class Stage>
void run(const AugmentJobs& made, const AugmentMemory& memory) {
  for (const auto& job : made.jobs)
    for (std::int64_t i = 0; i < Stage::count(job); ++i) Stage::at(memory, job, i);
}

void run_stages(const AugmentJobs& made, const AugmentMemory& memory) {
  run<TapsStage>(made, memory);
  run<AcrossStage>(made, memory);
  run<DownStage>(made, memory);
  for (const auto& job : made.jobs) {
    OneThread block;
    ColourShared shared{};
    colours(block, shared, memory, job);
  }
  run<BlurStage>(made, memory);
  run<SquaresStage>(made, memory);
}

struct Picture {
  std::int64_t width, height;
  std::vector<std::uint8_t> rgb;
};

// Tissue of two stains, noise and some glass.
Picture tissue(std::int64_t width, std::int64_t height, std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kPicture, /*many=*/true);
  Picture out{width, height, {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const bool glass = (x / 9 + y / 13) % 4 == 0;
      const double h = glass ? 0.01 : 0.1 + 0.4 * static_cast<double>((x / 5 + y / 7) % 3), e = glass ? 0.01 : 0.7 - 0.2 * static_cast<double>((x / 11) % 3);
      for (std::size_t c = 0; c < 3; ++c) {
        const double light = std::exp(-(h * kHed[0][c] + e * kHed[1][c])) * 255 + 12 * (random.uniform() - 0.5);
        out.rgb.push_back(static_cast<std::uint8_t>(std::clamp(light, 0.0, 255.0)));
      }
    }
  }
  return out;
}

struct Difference {
  int largest = 0;
  double share = 0;  // of values that differ
};

// Many draws of one augmentation, all pictures in one launch, against apply().
Difference compare(const Augmentation& how, const std::vector<std::pair<Picture, Frame>>& pictures, std::int64_t patch, std::uint64_t draws = 6,
                   As as = As::kStages) {
  std::vector<std::uint8_t> bytes, expected;
  std::vector<PlacedPlan> plans;
  for (const auto& [picture, frame] : pictures) {
    check(how);
    check(frame, how);
    const auto first = static_cast<std::int64_t>(bytes.size());
    bytes.insert(bytes.end(), picture.rgb.begin(), picture.rgb.end());
    for (std::uint64_t i = 0; i < draws; ++i) {
      Philox random({5, 1, i}, Stream::kPicture, /*many=*/true);
      plans.push_back({plan(picture.width, picture.height, how, frame, random), first, picture.width, picture.height});
      std::vector<std::uint8_t> whole(static_cast<std::size_t>(3 * frame.size * frame.size)), squares(whole.size());
      apply(plans.back().plan, picture.rgb.data(), picture.width, picture.height, whole.data());
      to_squares(whole.data(), frame.size, patch, squares.data());
      expected.insert(expected.end(), squares.begin(), squares.end());
    }
  }
  const auto made = augment_jobs(plans);
  const auto& sizes = made.sizes;
  REQUIRE(sizes.out == static_cast<std::int64_t>(expected.size()));
  std::vector<std::int32_t> taps(static_cast<std::size_t>(sizes.taps));
  std::vector<std::uint8_t> shrunk(static_cast<std::size_t>(sizes.shrunk)), rgb(static_cast<std::size_t>(sizes.rgb)), out(static_cast<std::size_t>(sizes.out));
  std::vector<float> keys(static_cast<std::size_t>(sizes.keys));
  std::vector<std::int16_t> sums(static_cast<std::size_t>(sizes.sums));
  const AugmentMemory memory{bytes.data(), made.weights.data(), taps.data(), shrunk.data(), rgb.data(), keys.data(), sums.data(), out.data(), patch};
  if (as == As::kStages) {
    run_stages(made, memory);
  } else {
    REQUIRE(ops::cuda::augment(made.jobs.data(), static_cast<std::int64_t>(made.jobs.size()), memory, nullptr) == cudaSuccess);
  }
  Difference difference;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int by = std::abs(out[i] - expected[i]);
    difference.largest = std::max(difference.largest, by);
    difference.share += by > 0 ? 1.0 / static_cast<double>(out.size()) : 0;
  }
  return difference;
}

std::vector<std::pair<Picture, Frame>> crops() { return {{tissue(70, 54, 1), {48}}, {tissue(48, 48, 2), {48}}, {tissue(131, 97, 3), {24}}}; }

}  // namespace

TEST_CASE("crops, flips and turns on a GPU are the CPU's to the bit") {
  Augmentation how;
  how.flips = how.turns = true;
  CHECK(compare(how, crops(), 8).largest == 0);
  how.area_low = 0.1;
  how.aspect_low = 0.5;
  how.aspect_high = 2;
  CHECK(compare(how, crops(), 8, 30).largest == 0);
}

TEST_CASE("zoomed frames on a GPU are the CPU's to the bit") {
  CHECK(compare({}, {{tissue(150, 120, 1), {32, 3.5}}, {tissue(150, 120, 2), {48, 0.4, true}}, {tissue(150, 120, 2), {32, 1, true}}}, 16).largest == 0);
}

TEST_CASE("blur and solarisation on a GPU are the CPU's to the bit") {
  Augmentation how;
  how.blur = how.solarise = 0.7;
  CHECK(compare(how, crops(), 4, 20).largest == 0);
  how.blur_low = how.blur_high = 0.01;  // nothing is blurred
  CHECK(compare(how, crops(), 4).largest == 0);
}

TEST_CASE("colours on a GPU are the CPU's but for rounding") {
  const auto close = [](const Augmentation& how) {
    const auto found = compare(how, crops(), 8, 20);
    CHECK(found.largest <= 1);
    CHECK(found.share < 0.001);
  };
  Augmentation how;
  SECTION("brightness") { how.brightness = 0.8; }
  SECTION("contrast") { how.contrast = 0.8; }
  SECTION("saturation") { how.saturation = 0.8; }
  SECTION("hue") { how.hue = 0.5; }
  SECTION("grey") { how.grey = 0.5; }
  SECTION("HED") { how.hed = 0.1; }
  SECTION("Macenko") { how.macenko = 0.4; }
  close(how);
}

TEST_CASE("all changes together stay close to the CPU's") {
  Augmentation how{0.3, 1, 0.75, 1.33, true, true, 0.3, 0.05, 0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.5, 0.2};
  // A value that rounds the other way is scaled by the steps after it; solarisation turns one about the threshold over.
  how.solarise = 0;
  const auto found = compare(how, crops(), 8, 40);
  CHECK(found.largest <= 3);
  CHECK(found.share < 0.001);
}

TEST_CASE("a picture without tissue keeps its stains on a GPU") {
  Picture white{40, 40, std::vector<std::uint8_t>(4800, 245)}, one_colour{40, 40, {}};
  for (int i = 0; i < 1600; ++i) one_colour.rgb.insert(one_colour.rgb.end(), {120, 60, 140});
  Augmentation how;
  how.macenko = 0.4;
  CHECK(compare(how, {{white, {32}}, {one_colour, {32}}}, 16).largest == 0);
}

TEST_CASE("the kernels of all changes, on threads") {
  const Augmentation how{0.3, 1, 0.75, 1.33, true, true, 0.3, 0.05, 0.4, 0.4, 0.4, 0.1, 1, 0.5, 0.5};
  const auto found = compare(how, {{tissue(40, 36, 1), {24}}}, 8, 2, As::kKernels);
  CHECK(found.largest <= 3);
  CHECK(found.share < 0.01);
}
