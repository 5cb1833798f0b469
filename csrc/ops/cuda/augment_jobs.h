#pragma once
// What the kernels of ops/augment.h are told of each picture, and where in shared memory areas each has its part. No torch, no CUDA.

#include <cstdint>
#include <vector>

#include "transforms/augment_plan.h"

namespace sslmed::ops::cuda {

struct AugmentJob {
  transforms::AugmentPlan plan;
  std::int64_t source, width, height;  // the picture: its first byte, and pixels
  bool resized;
  std::int64_t first_row, rows;                              // of the picture, that the result is made of
  std::int64_t most_across, most_down;                       // taps
  std::int32_t reach;                                        // of the blur; 0: none
  float hed_matrix[9], hed_offset[3];                        // densities of R, G and B
  std::int64_t taps, shrunk, rgb, keys, sums, weights, out;  // first element in each area below
};

// Elements of each area that all jobs together need.
struct AugmentSizes {
  std::int64_t taps = 0;    // int32: of each column, then each row of the result, the first source pixel, how many, their weights
  std::int64_t shrunk = 0;  // uint8 [rows, size, 3]: after the pass across
  std::int64_t rgb = 0;     // uint8 [size, size, 3]
  std::int64_t keys = 0;    // float [size²]: what percentiles are of
  std::int64_t sums = 0;    // int16 [size, size, 3]: after the blur's pass across
  std::int64_t out = 0;     // uint8
};

struct AugmentJobs {
  std::vector<AugmentJob> jobs;
  std::vector<std::int16_t> weights;  // of blurs
  AugmentSizes sizes;
};

AugmentJobs augment_jobs(const std::vector<transforms::PlacedPlan>& plans);

// The areas, on the device.
struct AugmentMemory {
  const std::uint8_t* pictures;
  const std::int16_t* weights;
  std::int32_t* taps;
  std::uint8_t* shrunk;
  std::uint8_t* rgb;
  float* keys;
  std::int16_t* sums;
  std::uint8_t* out;   // [rows, 3·patch²]: squares row by row, pixels of each row by row
  std::int64_t patch;  // pixels
};

}  // namespace sslmed::ops::cuda
