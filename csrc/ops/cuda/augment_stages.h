#pragma once
// Augmentation, stage by stage: what a kernel's thread does for element i of one picture. The arithmetic is that of transforms/; g++ compiles it too, so
// that tests run the stages in turn on machines without a GPU.

#include "ops/cuda/augment_jobs.h"
#include "transforms/pixel.h"

namespace sslmed::ops::cuda {

// Which source pixels each column and each row of the result is made of, and their weights.
struct TapsStage {
  static SSLMED_FORMULA std::int64_t count(const AugmentJob& job) { return job.resized ? 2 * job.plan.size : 0; }
  static SSLMED_FORMULA std::int32_t* across(const AugmentMemory& memory, const AugmentJob& job, std::int64_t x) {
    return memory.taps + job.taps + x * (job.most_across + 2);
  }
  static SSLMED_FORMULA std::int32_t* down(const AugmentMemory& memory, const AugmentJob& job, std::int64_t y) {
    return memory.taps + job.taps + job.plan.size * (job.most_across + 2) + y * (job.most_down + 2);
  }
  static SSLMED_FORMULA void at(const AugmentMemory& memory, const AugmentJob& job, std::int64_t i) {
    const auto size = job.plan.size;
    const auto& box = job.plan.box;
    const bool is_row = i >= size;
    const auto reach =
        is_row ? transforms::reach_of(job.height, box.y, box.height, size, i - size) : transforms::reach_of(job.width, box.x, box.width, size, i);
    std::int32_t* taps = is_row ? down(memory, job, i - size) : across(memory, job, i);
    taps[0] = static_cast<std::int32_t>(reach.first);
    taps[1] = static_cast<std::int32_t>(reach.last - reach.first);
    double sum = 0;
    for (auto s = reach.first; s < reach.last; ++s) sum += transforms::exact_weight(reach, s);
    for (auto s = reach.first; s < reach.last; ++s) taps[2 + s - reach.first] = transforms::whole_weight(transforms::exact_weight(reach, s), sum);
  }
};

// One pixel's three colours, weighed along a line of the picture whose pixels lie `step` bytes apart.
SSLMED_FORMULA void weigh_pixels(const std::uint8_t* from, std::int64_t step, const std::int32_t* taps, std::uint8_t* into) {
  std::int32_t sums[3] = {1 << (transforms::kBicubicBits - 1), 1 << (transforms::kBicubicBits - 1), 1 << (transforms::kBicubicBits - 1)};
  for (std::int32_t t = 0; t < taps[1]; ++t)
    for (int c = 0; c < 3; ++c) sums[c] += taps[2 + t] * from[t * step + c];
  for (int c = 0; c < 3; ++c) into[c] = transforms::weighted_byte(sums[c]);
}

// Rows of the picture, each as wide as the result.
struct AcrossStage {
  static SSLMED_FORMULA std::int64_t count(const AugmentJob& job) { return job.resized ? job.rows * job.plan.size : 0; }
  static SSLMED_FORMULA void at(const AugmentMemory& memory, const AugmentJob& job, std::int64_t i) {
    const auto row = i / job.plan.size, x = i % job.plan.size;
    const std::int32_t* taps = TapsStage::across(memory, job, x);
    weigh_pixels(memory.pictures + job.source + 3 * ((job.first_row + row) * job.width + taps[0]), 3, taps, memory.shrunk + job.shrunk + 3 * i);
  }
};

// The result's pixels, flipped and turned.
struct DownStage {
  static SSLMED_FORMULA std::int64_t count(const AugmentJob& job) { return job.plan.size * job.plan.size; }
  static SSLMED_FORMULA void at(const AugmentMemory& memory, const AugmentJob& job, std::int64_t i) {
    const auto size = job.plan.size, last = size - 1;
    auto y = i / size, x = i % size;
    for (std::int32_t turn = 0; turn < job.plan.turns; ++turn) {  // where a quarter counter-clockwise has it from
      const auto column = last - y;
      y = x;
      x = column;
    }
    if (job.plan.down) y = last - y;
    if (job.plan.across) x = last - x;
    std::uint8_t* into = memory.rgb + job.rgb + 3 * i;
    if (job.resized) {
      const std::int32_t* taps = TapsStage::down(memory, job, y);
      weigh_pixels(memory.shrunk + job.shrunk + 3 * ((taps[0] - job.first_row) * size + x), 3 * size, taps, into);
      return;
    }
    const auto left = static_cast<std::int64_t>(job.plan.box.x), top = static_cast<std::int64_t>(job.plan.box.y);
    const std::uint8_t* from = memory.pictures + job.source + 3 * ((top + y) * job.width + left + x);
    for (int c = 0; c < 3; ++c) into[c] = from[c];
  }
};

// One value of the blur's pass across.
struct BlurStage {
  static SSLMED_FORMULA std::int64_t count(const AugmentJob& job) { return job.reach > 0 ? 3 * job.plan.size * job.plan.size : 0; }
  static SSLMED_FORMULA void at(const AugmentMemory& memory, const AugmentJob& job, std::int64_t i) {
    const auto size = job.plan.size, x = i / 3 % size;
    const std::uint8_t* row = memory.rgb + job.rgb + i - 3 * x;  // its first value of this colour
    const std::int16_t* weights = memory.weights + job.weights;
    const auto value = [&](std::int64_t at) { return row[3 * transforms::mirrored(at, size)] << transforms::kBlurFraction; };
    auto sum = transforms::weighed(static_cast<std::int16_t>(value(x)), weights[0]);
    for (std::int32_t t = 1; t <= job.reach; ++t)
      sum = static_cast<std::int16_t>(sum + transforms::weighed(static_cast<std::int16_t>(value(x - t) + value(x + t)), weights[t]));
    memory.sums[job.sums + i] = sum;
  }
};

// The blur's pass down, solarisation, and every pixel to its square.
struct SquaresStage {
  static SSLMED_FORMULA std::int64_t count(const AugmentJob& job) { return job.plan.size * job.plan.size; }
  static SSLMED_FORMULA void at(const AugmentMemory& memory, const AugmentJob& job, std::int64_t i) {
    const auto size = job.plan.size, y = i / size, x = i % size, p = memory.patch;
    const auto square = y / p * (size / p) + x / p, within = y % p * p + x % p;
    std::uint8_t* into = memory.out + job.out + 3 * (square * p * p + within);
    for (int c = 0; c < 3; ++c) {
      auto value = memory.rgb[job.rgb + 3 * i + c];
      if (job.reach > 0) {
        const std::int16_t* weights = memory.weights + job.weights;
        const auto sum_at = [&](std::int64_t row) { return memory.sums[job.sums + 3 * (transforms::mirrored(row, size) * size + x) + c]; };
        auto sum = transforms::weighed(sum_at(y), weights[0]);
        for (std::int32_t t = 1; t <= job.reach; ++t)
          sum = static_cast<std::int16_t>(sum + transforms::weighed(static_cast<std::int16_t>(sum_at(y - t) + sum_at(y + t)), weights[t]));
        value = transforms::byte_of_sum(sum);
      }
      into[c] = job.plan.solarise && value >= transforms::kSolariseFrom ? static_cast<std::uint8_t>(~value) : value;
    }
  }
};

}  // namespace sslmed::ops::cuda
